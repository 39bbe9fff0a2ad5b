package catchup

import (
	"errors"
	"testing"

	"mergegate/gate"
)

func TestAdvanceIsAFastForward(t *testing.T) {
	w := newWorld(t)
	one := w.commit("main", "one", files{"a": "1\n"})
	two := w.commit("pr", "two", files{"a": "2\n"}, one)
	three := w.commit("pr", "three", files{"a": "3\n"}, two)
	beside := w.commit("other", "beside", files{"a": "4\n"}, one)
	w.fetch("main", "pr", "other")
	main := func() gate.SHA { return gate.SHA(w.git("rev-parse", "refs/heads/main")) }

	for range 2 { // the second is what a lost answer leads to
		if err := w.m.Advance(t.Context(), "main", one, two); err != nil || main() != two {
			t.Fatalf("main is at %s, %v", main(), err)
		}
	}
	if err := w.m.Advance(t.Context(), "main", one, beside); !errors.Is(err, ErrMoved) || main() != two {
		t.Errorf("from where main was before: %v, main at %s", err, main())
	}
	for what, to := range map[string]gate.SHA{"beside": beside, "back": one, "nowhere": two} {
		if err := w.m.Advance(t.Context(), "main", two, to); err == nil || main() != two {
			t.Errorf("%s: %v, main at %s", what, err, main())
		}
	}
	w.git("update-ref", "refs/heads/main", string(three))
	if err := w.m.Advance(t.Context(), "main", one, two); err != nil || main() != three {
		t.Errorf("landed, and then main went on: %v", err)
	}
	if err := w.m.Advance(t.Context(), "none", one, two); !errors.Is(err, ErrMoved) && !errors.Is(err, ErrNoRef) {
		t.Errorf("a branch that is not there: %v", err)
	}
}
