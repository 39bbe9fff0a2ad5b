/* What all models share: pull requests, a base branch, pauses and crashes.
 *
 * N         replicas
 * PAUSES    how many pauses there are, each of any replica, anywhere, of any
 *           length: while it lasts its lease may be found stale
 * CRASHES   the same for crashes, at most N-1
 * CAS       the forge lands only on the base that was tested on
 * DEADLINE  a holder that was paused past its TTL notices when it looks
 * EXCL      check that at most one replica is at work
 * S1        check that what lands was tested on the base it lands on
 *
 * Heads do not move and there is one base branch. Two requests: were there one,
 * "landed already" would hide what the fence is for. */
#define PRS 2

byte silent[N];   /* pauses and crashes under way */
bool late[N];     /* was silent since it took its lease */
byte base;        /* how often base has moved */
bool landed[PRS];
byte inside;      /* replicas that think that they hold the queue */

#define up(r) (silent[r] == 0)
#define done  (landed[0] && landed[1])

inline enter() {
	inside++;
#ifdef EXCL
	assert(inside <= 1);
#endif
}

/* The retest: binds the verdict to the base of this moment. Each replica picks
 * whichever request is open. */
inline test(tested, pr) {
	tested = base;
	if
	:: !landed[0] -> pr = 0
	:: !landed[1] -> pr = 1
	:: done -> pr = PRS
	fi
}

inline land(tested, pr) {
	if
	:: pr == PRS -> skip
	:: pr < PRS && landed[pr] -> skip
#ifdef CAS
	:: pr < PRS && !landed[pr] && base != tested -> skip
	:: pr < PRS && !landed[pr] && base == tested ->
#else
	:: pr < PRS && !landed[pr] ->
#endif
#ifdef S1
		assert(base == tested);
#endif
		landed[pr] = true;
		base++
	fi
}

#if PAUSES > 0
active [PAUSES] proctype pauser() {
	byte r;
	if
	:: skip
	:: select(r : 0 .. (N-1));
	   atomic { silent[r]++; late[r] = true };
	   atomic { silent[r]--; r = 0 }
	fi
}
#endif

#if CRASHES > 0
active [CRASHES] proctype crasher() {
	byte r;
	if
	:: skip
	:: select(r : 0 .. (N-1));
	   atomic { silent[r]++; late[r] = true; r = 0 }
	fi
}
#endif

#ifdef LIVE
ltl live { <> done }
#endif
