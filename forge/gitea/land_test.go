package gitea

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mergegate/forge"
	"mergegate/gate"
)

var errUnknown = errors.New("an error without a meaning")

// kind is which of the errors that callers tell apart err is.
func kind(err error) error {
	for _, k := range []error{forge.ErrNotFound, forge.ErrDenied, forge.ErrMoved, forge.ErrBusy} {
		if errors.Is(err, k) {
			return k
		}
	}
	if err != nil {
		return errUnknown
	}
	return nil
}

// TestLandAnswers asks a real Gitea for merges that it refuses, one for each
// answer that can be brought about.
func TestLandAnswers(t *testing.T) {
	w := newWorld(t)
	type stage struct {
		r      gate.Repo
		author gate.User
		root   gate.SHA
		n      int
		as     *Forge
		l      forge.Landing
	}
	patch := func(t *testing.T, s *stage, path string, in map[string]any) {
		w.api(t, s.r, w.owner.Token, http.MethodPatch, path, in, nil)
	}
	moveMain := func(t *testing.T, s *stage, file string) {
		w.Push(t, s.r, s.root, map[string]string{file: "other\n"}, "main")
	}
	for _, tt := range []struct {
		name    string
		arrange func(*testing.T, *stage)
		want    error
		text    string // part of what the caller is told
	}{
		{"conflict", func(t *testing.T, s *stage) {
			s.l.Method = gate.Merge
			moveMain(t, s, "a.txt")
		}, forge.ErrBusy, "try again later"},
		{"head moved", func(t *testing.T, s *stage) {
			w.Push(t, s.r, s.l.Head, map[string]string{"b.txt": "b\n"}, "feature")
		}, forge.ErrMoved, "head out of date"},
		{"behind, fast-forward", func(t *testing.T, s *stage) { moveMain(t, s, "b.txt") }, errUnknown, "500"},
		{"behind, outdated heads blocked", func(t *testing.T, s *stage) {
			w.protect(t, s.r, map[string]any{"rule_name": "main", "enable_push": true, "block_on_outdated_branch": true})
			moveMain(t, s, "b.txt")
		}, forge.ErrMoved, "behind the base branch"},
		{"required check missing", func(t *testing.T, s *stage) {
			w.protect(t, s.r, map[string]any{"rule_name": "main", "enable_status_check": true, "status_check_contexts": []string{"ci/*"}})
		}, forge.ErrDenied, "Not all required status checks successful"},
		{"approval missing", func(t *testing.T, s *stage) { w.Protect(t, s.r, "main", 1) },
			forge.ErrDenied, "enough approvals"},
		{"changes requested", func(t *testing.T, s *stage) {
			w.protect(t, s.r, map[string]any{"rule_name": "main", "block_on_rejected_reviews": true})
			w.Review(t, s.r, s.n, w.Person(t, s.r, gate.RoleWrite), gate.ChangesRequested)
		}, forge.ErrDenied, "requested changes"},
		{"draft", func(t *testing.T, s *stage) { w.Draft(t, s.r, s.n) }, forge.ErrDenied, "Work in progress"},
		{"may not merge", func(t *testing.T, s *stage) {
			s.as = w.as(t, w.create(t, "mallory").Token)
		}, forge.ErrDenied, "not allowed to merge"},
		{"already merged", func(t *testing.T, s *stage) { check(t, landWhenReady(t, s.as, s.r, s.l)) },
			forge.ErrMoved, "already merged"},
		{"closed", func(t *testing.T, s *stage) { w.Close(t, s.r, s.n) }, forge.ErrNotFound, ""},
		{"open dependency", func(t *testing.T, s *stage) {
			blocker := w.CreateIssue(t, s.r, s.author, "First this", "")
			w.api(t, s.r, w.owner.Token, http.MethodPost, fmt.Sprintf("/issues/%d/dependencies", s.n),
				map[string]any{"owner": s.r.Owner, "repo": s.r.Name, "index": blocker}, nil)
		}, errUnknown, "500"},
		{"method switched off", func(t *testing.T, s *stage) {
			patch(t, s, "", map[string]any{"allow_squash_merge": false})
			s.l.Method = gate.Squash
		}, forge.ErrDenied, "merge style"},
		{"token without the scope", func(t *testing.T, s *stage) {
			token, err := w.srv.Token(t.Context(), w.bot, "read:repository")
			check(t, err)
			s.as = w.as(t, token)
		}, forge.ErrDenied, "scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &stage{r: w.Repo(t), as: w.forge}
			s.author, s.root = w.Person(t, s.r, gate.RoleWrite), tip(t, w.forge, s.r, "main")
			head := w.Push(t, s.r, s.root, map[string]string{"a.txt": "a\n"}, "feature")
			s.n = w.Open(t, s.r, s.author, "feature", "main", "Add a")
			s.l = forge.Landing{PR: s.n, Base: "main", Tip: s.root, Head: head, Method: gate.FastForward}
			tt.arrange(t, s)
			before := tip(t, w.forge, s.r, "main")

			// Gitea learns of a conflict or a moved base a moment later, and answers otherwise until then.
			eventually(t, fmt.Sprintf("%v with %q", tt.want, tt.text), func() bool {
				err := s.as.Land(t.Context(), s.r, s.l)
				if err == nil {
					t.Fatal("it landed")
				}
				return kind(err) == tt.want && strings.Contains(err.Error(), tt.text)
			})
			if now := tip(t, w.forge, s.r, "main"); now != before {
				t.Errorf("main moved from %s to %s", before, now)
			}
		})
	}
}

// landWhenReady lands once Gitea has checked the pull request for conflicts.
func landWhenReady(t *testing.T, f *Forge, r gate.Repo, l forge.Landing) error {
	t.Helper()
	var err error
	eventually(t, "Gitea has checked the pull request", func() bool {
		err = f.Land(t.Context(), r, l)
		return !errors.Is(err, forge.ErrBusy)
	})
	return err
}

// TestLandRareAnswers covers what a quiet server does not say.
func TestLandRareAnswers(t *testing.T) {
	for _, tt := range []struct {
		status  int
		message string
		want    error
	}{
		{200, "", nil},
		{201, "", errUnknown}, // scheduled: not what we asked
		{400, "bad", errUnknown},
		{401, "token is required", errUnknown},
		{409, "PushRejected with remote message: error: cannot lock ref 'refs/heads/main'", forge.ErrMoved},
		{409, "merge push out of date", forge.ErrMoved},
		{409, "PushRejected with remote message: Gitea: Not allowed to push to protected branch main", forge.ErrDenied},
		{409, "PushRejected without remote error message", errUnknown},
		{422, "[Do]: In", forge.ErrDenied},
		{423, "repository is archived", forge.ErrDenied},
		{500, "", errUnknown},
		{502, "", errUnknown},
	} {
		f := answering(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(tt.status)
			if tt.message != "" {
				fmt.Fprintf(rw, `{"message":%q}`, tt.message)
			}
		})
		err := f.Land(t.Context(), gate.Repo{Owner: "acme", Name: "widgets"}, forge.Landing{PR: 12, Method: gate.FastForward,
			Head: "0123456789012345678901234567890123456789"})
		if kind(err) != tt.want {
			t.Errorf("%d %s: error %v, want %v", tt.status, tt.message, err, tt.want)
		}
		if err != nil && !strings.Contains(err.Error(), "merge #12 of acme/widgets") {
			t.Errorf("%d: %q does not say what was asked", tt.status, err)
		}
	}
}

// TestLandAsksForNoMore looks at the merge call itself: pinned, not forced, not
// scheduled.
func TestLandAsksForNoMore(t *testing.T) {
	var got string
	f := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.Path + " " + string(body)
	})
	head := strings.Repeat("ab", 20)
	check(t, f.Land(t.Context(), gate.Repo{Owner: "acme", Name: "widgets"}, forge.Landing{PR: 7, Method: gate.Squash, Head: gate.SHA(head),
		Title: "T", Message: "M", DeleteBranch: true}))
	want := `POST /api/v1/repos/acme/widgets/pulls/7/merge {"Do":"squash","MergeCommitID":"","MergeTitleField":"T","MergeMessageField":"M",` +
		`"delete_branch_after_merge":true,"force_merge":false,"head_commit_id":"` + head + `","merge_when_checks_succeed":false}`
	if got != want {
		t.Errorf("asked\n%s\nwant\n%s", got, want)
	}
}

// answering is a forge whose server is the handler.
func answering(t *testing.T, h http.HandlerFunc) *Forge {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	f, err := New(Config{Name: "work", URL: srv.URL, Token: func() (string, error) { return secretToken, nil }})
	check(t, err)
	return f
}

const secretToken = "gto_do-not-tell"
