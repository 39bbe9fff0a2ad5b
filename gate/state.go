package gate

import (
	"fmt"
	"slices"
)

// State is where a request is on its way. The zero value means that nobody asked.
type State string

const (
	Waiting    State = "waiting"     // asked for, admission unmet; Record.Why lists what is missing
	Queued     State = "queued"      // admitted, waiting its turn
	CatchingUp State = "catching-up" // its candidate is being made
	Testing    State = "testing"     // its candidate is being judged
	Landing    State = "landing"     // judged good; base is about to move, or has moved and is being compared
	Landed     State = "landed"      // final: the change is in base
	Dropped    State = "dropped"     // final: ended without landing; Record.Why says why
)

// moves is the whole machine. A final state is left only by asking again.
func moves() map[State][]State {
	return map[State][]State{
		"":         {Waiting},
		Waiting:    {Queued, Landed, Dropped},
		Queued:     {CatchingUp, Waiting, Landed, Dropped},
		CatchingUp: {Testing, Queued, Waiting, Landed, Dropped},
		Testing:    {Landing, CatchingUp, Queued, Waiting, Landed, Dropped},
		Landing:    {Landed, CatchingUp, Queued, Waiting, Dropped},
		Landed:     {Waiting},
		Dropped:    {Waiting},
	}
}

// Active says whether the request is still on its way.
func (s State) Active() bool { return s != "" && s != Landed && s != Dropped }

// Final says whether the request has ended.
func (s State) Final() bool { return s == Landed || s == Dropped }

// flying says whether the request is the one being worked on.
func (s State) flying() bool { return s == CatchingUp || s == Testing || s == Landing }

// check panics on a move that the machine does not have: that is a bug in Step,
// never the consequence of something a person or a forge did.
func (s State) check(to State) {
	if s != to && !slices.Contains(moves()[s], to) {
		panic(fmt.Sprintf("gate: no move from %q to %q", s, to))
	}
}
