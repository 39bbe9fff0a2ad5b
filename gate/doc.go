// Package gate decides. It is the whole policy of mergegate as a pure function:
//
//	queue', records', actions = Step(queue, facts)
//
// Facts are what the forge says at this moment; nothing is remembered but the
// Queue (saved in the lease) and one Record per PR (saved in the PR's sticky
// comment). Webhooks bring no facts, they only make somebody look.
//
// # The way of a request
//
//	waiting -> queued -> catching-up -> testing -> landing -> landed
//	   \_________\____________\____________\__________\______ dropped
//
// A request waits while admission is unmet. It is queued by priority, then by
// the time it was asked for. One request at a time is in flight: its candidate
// is built on the current tip of base, judged, confirmed by fresh reads, landed,
// and then compared with what base really holds. Whenever base moves the flight
// goes back to catching up, keeping its place. Whenever a person takes back what
// the request rests on (label, approval, head, base branch, open, not a draft)
// the flight is taken down in the same step and the reason is recorded.
//
// # Invariants
//
//   - Land is asked for only for a candidate that passed, built on the tip that was
//     confirmed in the step before, with the head that was approved.
//   - A verdict that is missing, broken or empty is never a pass.
//   - A request in a final state is revived only by somebody asking again.
//   - The same facts give the same actions; doing an action twice is doing it once.
//   - After a landing was asked for, nothing else is done with the PR before base
//     has been read back: not after a crash, and not when the lease is lost with
//     the queue in it, because the record says Landing and what was tested.
//   - A landing that is not what was tested freezes the queue, and is not done
//     with before the freeze is there to see.
//   - A frozen queue takes in the verdict it waits for, and does nothing else.
//   - What CI says counts for the candidate it was asked about, and our own status
//     never counts.
//
// The package never does I/O, never looks at a clock, never logs and imports
// only the standard library.
package gate
