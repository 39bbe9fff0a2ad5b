package forgetest

import (
	"errors"
	"sync"
	"testing"

	"mergegate/forge"
	"mergegate/gate"
)

// landing asks for the scene's pull request by fast-forward.
func (s scene) landing() forge.Landing {
	return forge.Landing{PR: s.pr, Base: "main", Tip: s.root, Head: s.head, Method: gate.FastForward}
}

func testLandFastForward(t *testing.T, w World) {
	s := newScene(t, w)
	l := s.landing()
	l.DeleteBranch = true
	must(t, s.land(t, l))
	if tip := s.tip(t, "main"); tip != s.head {
		t.Errorf("main is at %s, want the very commit %s", tip, s.head)
	}
	p := s.read(t, s.pr)
	if p.Open || !p.Merged || p.MergeCommit != s.head {
		t.Errorf("pull request open %v, merged %v as %s; want merged as %s", p.Open, p.Merged, p.MergeCommit, s.head)
	}
	_, err := s.f.Branch(s.ctx, s.r, "feature")
	wantErr(t, "the branch that was to be deleted", err, forge.ErrNotFound)
	if err := s.land(t, l); err == nil {
		t.Error("the same landing went through twice")
	}
}

func testLandMethods(t *testing.T, w World) {
	for _, method := range []gate.Method{gate.Merge, gate.Squash, gate.Rebase} {
		s := newScene(t, w)
		l := s.landing()
		l.Method, l.Title, l.Message = method, "Land a", "Because."
		must(t, s.land(t, l))
		p, tip := s.read(t, s.pr), s.tip(t, "main")
		if !p.Merged || p.MergeCommit != tip {
			t.Errorf("%s: merged %v as %s, main at %s", method, p.Merged, p.MergeCommit, tip)
		}
		if method != gate.Rebase && tip == s.head {
			t.Errorf("%s: main moved to the head itself", method)
		}
		if _, err := s.f.Branch(s.ctx, s.r, "feature"); err != nil {
			t.Errorf("%s: the branch that was to stay: %v", method, err)
		}
	}
}

func testLandPinnedToHead(t *testing.T, w World) {
	s := newScene(t, w)
	pushed := s.Push(t, s.r, s.head, map[string]string{"a.txt": "unreviewed\n"}, "feature")
	for _, method := range []gate.Method{gate.FastForward, gate.Merge, gate.Squash, gate.Rebase} {
		l := s.landing()
		l.Method = method
		wantErr(t, "landing a head that is no longer there by "+string(method), s.land(t, l), forge.ErrMoved)
	}
	if tip := s.tip(t, "main"); tip != s.root {
		t.Errorf("main moved to %s", tip)
	}
	l := s.landing()
	l.Head = pushed
	must(t, s.land(t, l))
	if tip := s.tip(t, "main"); tip != pushed {
		t.Errorf("main is at %s, want %s", tip, pushed)
	}
}

func testLandBehind(t *testing.T, w World) {
	s := newScene(t, w)
	tip := s.Push(t, s.r, s.root, map[string]string{"b.txt": "b\n"}, "main")
	if err := s.land(t, s.landing()); err == nil || errors.Is(err, forge.ErrDenied) {
		t.Errorf("a head that is behind: error %v; want one that is not a final refusal", err)
	}
	if got := s.tip(t, "main"); got != tip {
		t.Errorf("main is at %s, want it untouched at %s", got, tip)
	}
	if p := s.read(t, s.pr); !p.Open || p.Merged {
		t.Errorf("pull request open %v, merged %v", p.Open, p.Merged)
	}
}

// testLandSiblings lands two pull requests of the same base at the same time:
// by fast-forward only one can win, and the answers must agree with main.
func testLandSiblings(t *testing.T, w World) {
	s := newScene(t, w)
	other := s.landing()
	other.Head = s.Push(t, s.r, s.root, map[string]string{"b.txt": "b\n"}, "other")
	other.PR = s.Open(t, s.r, s.author, "other", "main", "Add b")

	landings := []forge.Landing{s.landing(), other}
	errs := make([]error, len(landings))
	var wg sync.WaitGroup
	for i, l := range landings {
		wg.Go(func() { errs[i] = s.land(t, l) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("landings answered %v and %v; want exactly one to go through", errs[0], errs[1])
	}
	won, lost := 0, 1
	if errs[1] == nil {
		won, lost = 1, 0
	}
	if errors.Is(errs[lost], forge.ErrDenied) {
		t.Errorf("the loser was told %v, which is final", errs[lost])
	}
	if tip := s.tip(t, "main"); tip != landings[won].Head {
		t.Errorf("main is at %s, the winner's head is %s", tip, landings[won].Head)
	}
	if p := s.read(t, landings[lost].PR); p.Merged {
		t.Error("the loser is merged too")
	}
}

func testLandRefused(t *testing.T, w World) {
	s := newScene(t, w)
	s.Protect(t, s.r, "main", 1)
	err := s.land(t, s.landing())
	wantErr(t, "an approval is missing", err, forge.ErrDenied)
	var refusal *forge.Refusal
	if errors.As(err, &refusal) && refusal.Text == "" {
		t.Error("the refusal gives no reason")
	}
	s.Review(t, s.r, s.pr, s.Person(t, s.r, gate.RoleWrite), gate.Approved)
	s.Draft(t, s.r, s.pr)
	wantErr(t, "a draft", s.land(t, s.landing()), forge.ErrDenied)
	s.Close(t, s.r, s.pr)
	if err := s.land(t, s.landing()); err == nil {
		t.Error("a closed pull request landed")
	}
	missing := s.landing()
	missing.PR += 100
	wantErr(t, "no such pull request", s.land(t, missing), forge.ErrNotFound)
	if tip := s.tip(t, "main"); tip != s.root {
		t.Errorf("main moved to %s", tip)
	}
}
