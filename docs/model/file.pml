/* The lease file of mergegate land. It starts as what a dead holder left behind:
 * owner N. Owner NONE stands for no file. serial is the nonce.
 *
 * NAIVE   find it stale, remove it, create it anew: three steps instead of one
 *         under flock */
#include "gate.pml"
#define NONE 255

byte owner = N, serial;

#define stale(o) (o == N || (o < N && !up(o)))

active [N] proctype process() {
	byte me = _pid - PAUSES - CRASHES;
	byte my, tested, pr;
again:
	if
	:: atomic { up(me) && done -> goto over }
#ifdef NAIVE
	:: atomic { up(me) && !done && owner == NONE -> skip }
	:: atomic { up(me) && !done && stale(owner) -> skip };
	   atomic { up(me) -> owner = NONE; serial = 0 }
	fi;
	atomic { up(me) ->
		if
		:: owner != NONE -> goto again
		:: owner == NONE -> my = (my % 3) + 1; owner = me; serial = my; late[me] = false
		fi
	};
#else
	:: atomic { up(me) && !done && (owner == NONE || stale(owner)) ->
		my = (my % 3) + 1; owner = me; serial = my; late[me] = false
	   }
	fi;
#endif
	atomic { up(me) -> enter() };
	atomic { up(me) -> test(tested, pr) };
#ifdef CHECK
	/* Held.Check: is the file still ours? */
	atomic { up(me) ->
		if
		:: !(owner == me && serial == my) -> pr = PRS
		:: else
		fi
	};
#endif
	atomic { up(me) -> land(tested, pr) };
	atomic { up(me) ->
		inside--;
		if
		:: owner == me && serial == my -> owner = NONE; serial = 0
		:: else
		fi;
		tested = 0; pr = 0
	};
	goto again;
over:
	skip
}
