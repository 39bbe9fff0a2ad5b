package gitea

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mergegate/forge"
	"mergegate/gate"
)

// TestBotThatOnlyWrites: a bot that is not an administrator is told less, and
// says so.
func TestBotThatOnlyWrites(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	r := w.Repo(t)
	check(t, w.srv.AddCollaborator(ctx, r.String(), w.bot.Name, "write"))
	f := w.forge

	repo, err := f.Repository(ctx, r)
	if err != nil || repo.Role != gate.RoleWrite {
		t.Errorf("own role %v, %v; want write", repo.Role, err)
	}
	owner := gate.User{ID: w.owner.ID, Login: w.owner.Name}
	for _, tt := range []struct {
		who  gate.User
		want gate.Role
	}{
		{owner, gate.RoleAdmin},
		{w.Person(t, r, gate.RoleAdmin), gate.RoleWrite}, // cannot be told from a writer
		{w.Person(t, r, gate.RoleWrite), gate.RoleWrite},
		{w.Person(t, r, gate.RoleRead), gate.RoleRead},
		{gate.User{ID: 1 << 40, Login: w.owner.Name}, gate.RoleRead}, // a login that changed hands
	} {
		if got, err := f.Role(ctx, r, tt.who); err != nil || got != tt.want {
			t.Errorf("role of %v: %v, %v; want %v", tt.who, got, err, tt.want)
		}
	}

	w.protect(t, r, map[string]any{"rule_name": "main", "required_approvals": 2, "dismiss_stale_approvals": true,
		"enable_status_check": true, "status_check_contexts": []string{"ci/*"}})
	b, err := f.Branch(ctx, r, "main")
	check(t, err)
	if !b.Protected || !b.Opaque || b.RequiredApprovals != 2 || b.DismissStale || fmt.Sprint(b.RequiredChecks) != "[ci/*]" {
		t.Errorf("branch %+v; want 2 approvals, ci/*, and the rest hidden", b)
	}
	for what, err := range map[string]error{
		"webhook":      f.CreateWebhook(ctx, r, "http://127.0.0.1:1/", []byte("s")),
		"fast-forward": f.AllowFastForward(ctx, r),
	} {
		if !errors.Is(err, forge.ErrDenied) {
			t.Errorf("%s: %v; want it denied", what, err)
		}
	}
}

// TestProtectionSeenByAdmin: the rule may be a pattern with a slash.
func TestProtectionSeenByAdmin(t *testing.T) {
	w := newWorld(t)
	r := w.Repo(t)
	w.Push(t, r, tip(t, w.forge, r, "main"), map[string]string{"a.txt": "a\n"}, "release/1.0")
	w.protect(t, r, map[string]any{"rule_name": "release/*", "required_approvals": 1,
		"dismiss_stale_approvals": true, "block_on_outdated_branch": true})
	b, err := w.forge.Branch(t.Context(), r, "release/1.0")
	check(t, err)
	if !b.DismissStale || !b.BlockOutdated || b.Opaque || b.RequiredChecks != nil {
		t.Errorf("branch %+v; want dismissal and blocking seen, no checks", b)
	}
}

// TestRoleOfReusedLogin: an administrator bot asks by login, but the id decides.
func TestRoleOfReusedLogin(t *testing.T) {
	w := newWorld(t)
	r := w.Repo(t)
	u := w.Person(t, r, gate.RoleWrite)
	u.ID++
	if got, err := w.forge.Role(t.Context(), r, u); err != nil || got != gate.RoleNone {
		t.Errorf("role %v, %v; want none", got, err)
	}
}

// TestFetchByCommit: git may fetch a commit that no branch has any more, which
// is how a head that was pushed away can still be read.
func TestFetchByCommit(t *testing.T) {
	w := newWorld(t)
	r := w.Repo(t)
	root := tip(t, w.forge, r, "main")
	lost := w.Push(t, r, root, map[string]string{"a.txt": "lost\n"}, "feature")
	w.Push(t, r, root, map[string]string{"a.txt": "kept\n"}, "feature")
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	git(t, dir, "fetch", "-q", w.srv.CloneURL(w.owner, r.String()), string(lost))
	if got := git(t, dir, "rev-parse", "FETCH_HEAD"); got != string(lost) {
		t.Errorf("fetched %s, want %s", got, lost)
	}
}

func TestVersion(t *testing.T) {
	for sent, want := range map[string]string{"1.26.0": "Gitea 1.26.0", "11.0.1+gitea-1.22.0": "Forgejo 11.0.1", "b5757a6": "Gitea b5757a6"} {
		f := answering(t, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintf(rw, `{"version":%q}`, sent) })
		if got, err := f.Version(t.Context()); err != nil || got != want {
			t.Errorf("version %q, %v; want %q", got, err, want)
		}
	}
}

func TestAnswersWithoutMeaning(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   error
		text   string
	}{
		{401, `{"message":"token is required"}`, errUnknown, "make a new one"},
		{403, `{"message":"no scope"}`, forge.ErrDenied, "no scope"},
		{404, `{"message":"gone"}`, forge.ErrNotFound, "gone"},
		{500, `{"message":""}`, errUnknown, "500"},
		{502, `<html>`, errUnknown, "502"},
		{200, `<html>`, errUnknown, "bot's own account"},
	} {
		f := answering(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(tt.status)
			fmt.Fprint(rw, tt.body)
		})
		_, err := f.Me(t.Context())
		if kind(err) != tt.want || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%d %s: error %v; want %v with %q", tt.status, tt.body, err, tt.want, tt.text)
		}
		if strings.Contains(err.Error(), secretToken) {
			t.Errorf("the error %q tells the token", err)
		}
	}
}

func TestRateLimit(t *testing.T) {
	f := answering(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "30")
		rw.WriteHeader(http.StatusTooManyRequests)
	})
	_, err := f.Me(t.Context())
	var limit *forge.RateLimited
	if !errors.As(err, &limit) {
		t.Fatalf("error %v, want a rate limit", err)
	}
	if wait := time.Until(limit.Until); wait < 20*time.Second || wait > 30*time.Second {
		t.Errorf("come back in %v, want half a minute", wait)
	}
}

// TestTokenStaysHome: a redirect to another host is refused, and a token that
// was replaced is used at once.
func TestTokenStaysHome(t *testing.T) {
	var seen []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, "thief") }))
	defer thief.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") == "token second" {
			http.Redirect(rw, r, thief.URL, http.StatusFound)
			return
		}
		fmt.Fprint(rw, `{"id":1,"login":"bot"}`)
	}))
	defer srv.Close()
	token := "first"
	f, err := New(Config{Name: "work", URL: srv.URL + "/", Token: func() (string, error) { return token, nil }})
	check(t, err)
	if me, err := f.Me(t.Context()); err != nil || me != (gate.User{ID: 1, Login: "bot"}) {
		t.Errorf("I am %v, %v", me, err)
	}
	token = "second"
	if _, err := f.Me(t.Context()); err == nil || !strings.Contains(err.Error(), "redirected to") {
		t.Errorf("a redirect to another host: %v", err)
	}
	if got := strings.Join(seen, ","); got != "token first,token second" {
		t.Errorf("the servers saw %s", got)
	}
}

func TestNewRefusesAddresses(t *testing.T) {
	for _, url := range []string{"", "git.example.com", "ftp://git.example.com", "https://bot:secret@git.example.com", "https://git.example.com/?token=secret"} {
		_, err := New(Config{Name: "work", URL: url})
		if err == nil || !strings.Contains(err.Error(), "forge work: url must") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}
