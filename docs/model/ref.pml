/* A ref as the lease. Its commit is (owner, serial); owner N stands for no ref.
 *
 * BLIND   pushes do not compare with what was read */
#include "gate.pml"

byte owner = N, serial;

active [N] proctype replica() {
	byte me = _pid - PAUSES - CRASHES;
	byte my, tested, pr, sawOwner, sawSerial;
again:
	if
	:: atomic { up(me) && done -> goto over }
	:: atomic { up(me) && !done -> sawOwner = owner; sawSerial = serial }
	fi;
	if
	:: sawOwner < N && sawOwner != me && up(sawOwner) -> goto again
	:: else
	fi;
	atomic { up(me) ->
#ifdef BLIND
		if
		:: true ->
#else
		if
		:: !(owner == sawOwner && serial == sawSerial) -> goto again
		:: owner == sawOwner && serial == sawSerial ->
#endif
			my = (my % 3) + 1;
			owner = me; serial = my; late[me] = false
		fi
	};
	atomic { up(me) -> enter() };
	atomic { up(me) -> test(tested, pr) };
#ifdef DEADLINE
	atomic { up(me) ->
		if
		:: late[me] -> pr = PRS
		:: else
		fi
	};
#endif
	atomic { up(me) -> land(tested, pr) };
	atomic { up(me) ->
		inside--;
		if
		:: owner == me && serial == my -> owner = N; serial = 0
		:: else
		fi;
		tested = 0; pr = 0; sawOwner = 0; sawSerial = 0
	};
	goto again;
over:
	skip
}
