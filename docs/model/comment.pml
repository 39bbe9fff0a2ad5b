/* The lock comment. The list of comments is kept in the order of their ids, which
 * is all that ids are for; (owner, serial) is the nonce.
 *
 * LAG       how lists lag: absent for not at all, 1 a list may lack the newest
 *           comments, 2 it may lack any
 * MUSTSEE   a replica that does not find its own comment holds nothing
 * UNAWARE   release deletes the lowest comment instead of one's own
 * LOSSES    how many posts get no answer though they arrived
 * REFIND    then look for the nonce; else post again blindly */
#include "gate.pml"
#if N == 2
#define K 4
#else
#define K 6
#endif

byte owner[K], serial[K], count;
byte losses = LOSSES;

inline cut(at) {
	i = at;
	do
	:: i+1 < count -> owner[i] = owner[i+1]; serial[i] = serial[i+1]; i++
	:: else -> break
	od;
	count--; owner[count] = 0; serial[count] = 0; i = 0
}

/* DELETE of one comment by id; nothing when it is gone. */
inline delete(o, s) {
	d_step {
		j = 0;
		do
		:: j < count && owner[j] == o && serial[j] == s -> cut(j); break
		:: j < count && !(owner[j] == o && serial[j] == s) -> j++
		:: j >= count -> break
		od;
		j = 0
	}
}

active [N] proctype replica() {
	byte me = _pid - PAUSES - CRASHES;
	byte my, tested, pr, i, j, lowOwner, lowSerial;
	bool seen, low, shown, past, lost, busy; /* busy: list before posting again */
again:
	if
	:: busy -> atomic { up(me) && (done || count == 0 || owner[0] == me || !up(owner[0])) -> busy = false }
	:: else
	fi;
	if
	:: atomic { up(me) && done -> goto over }
	:: atomic { up(me) && !done && count < K ->
		my = (my % 3) + 1;
		owner[count] = me; serial[count] = my; count++;
		late[me] = false;
		lost = false;
		if
		:: losses > 0 -> losses--; lost = true
#ifndef REFIND
		   ; serial[count-1] = 0 /* a nonce that no later post has */
#endif
		:: skip
		fi
	   }
	fi;
#ifndef REFIND
	if
	:: lost -> goto again /* the first one is still there */
	:: else
	fi;
#endif
list:
	atomic { up(me) ->
		seen = false; low = false; past = false; shown = true; j = 0;
		do
		:: j < count ->
#if LAG == 1
			if
			:: shown -> shown = false
			:: skip
			fi;
#elif LAG == 2
			if
			:: shown = false
			:: shown = true
			fi;
#endif
			if
			:: owner[j] == me && serial[j] == my -> past = true; seen = seen || shown
			:: shown && !past && !low && !(owner[j] == me && serial[j] == my) ->
				low = true; lowOwner = owner[j]; lowSerial = serial[j]
			:: else
			fi;
			j++
		:: j >= count -> break
		od;
		j = 0; shown = false; past = false
	};
	if
#ifdef MUSTSEE
	:: !seen -> atomic { up(me) -> delete(me, my) }; goto again
	:: seen && low && !up(lowOwner) -> /* stale: judged here, deleted later */
#else
	:: low && !up(lowOwner) ->
#endif
		atomic { up(me) -> delete(lowOwner, lowSerial) };
		goto list
#ifdef MUSTSEE
	:: seen && low && up(lowOwner) ->
#else
	:: low && up(lowOwner) ->
#endif
		atomic { up(me) -> delete(me, my); busy = true };
		goto again
#ifdef MUSTSEE
	:: seen && !low ->
#else
	:: !low ->
#endif
		skip
	fi;
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
#ifdef UNAWARE
		if
		:: count > 0 -> cut(0)
		:: else
		fi
#else
		delete(me, my)
#endif
		;
		tested = 0; pr = 0; lowOwner = 0; lowSerial = 0; seen = false; low = false
	};
	goto again;
over:
	skip
}
