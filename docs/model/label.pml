/* A label as the lease: look whether it is there, put it on, work, take it off.
 * Putting it on answers the same to everybody, and it has no owner. */
#include "gate.pml"

bool label;

active [N] proctype replica() {
	byte me = _pid - PAUSES - CRASHES;
	byte tested, pr;
again:
	if
	:: atomic { up(me) && done -> goto over }
	:: atomic { up(me) && !done && !label -> skip }
	fi;
	atomic { up(me) -> label = true };
	atomic { up(me) -> enter() };
	atomic { up(me) -> test(tested, pr) };
	atomic { up(me) -> land(tested, pr) };
	atomic { up(me) -> inside--; label = false; tested = 0; pr = 0 };
	goto again;
over:
	skip
}
