package stories

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mergegate/forge/localhub"
	"mergegate/gate"
)

// What only GitHub has.

// As an App, mergegate says the same in a check run, which has buttons.
func TestCheckRunAndItsButtons(t *testing.T) {
	only(t, "check run", func(t *testing.T, w *world) {
		h := w.stage.(*hubStage)
		w.manual()
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		press := func(button string) {
			t.Helper()
			_, run := h.checkRun(candidate)
			w.must(h.hub.Press(h.name, run, w.bob.name, button))
		}
		says := func(text string) {
			t.Helper()
			w.until("the check run to say "+text, func() bool {
				said, _ := h.checkRun(candidate)
				return strings.HasPrefix(said, text)
			})
		}
		says(": Testing")
		if !w.hooks {
			w.ci(candidate, "ci", "success") // a button is nothing but a webhook
			w.landed(pr)
			says("success: Landed as")
			return
		}
		press("remove")
		w.dropped(pr, "cancelled by bob")
		press("requeue")
		w.until("it to be tested again", func() bool { return w.state(pr) == "testing" })
		w.ci(candidate, "ci", "success")
		w.landed(pr)
		says("success: Landed as")
	}, "github")
}

// A check run that main demands counts like a status.
func TestRequiredCheckRun(t *testing.T) {
	only(t, "check run", func(t *testing.T, w *world) {
		h := w.stage.(*hubStage)
		w.policy = "  require: {approvals: 0}\n"
		w.protect(0, "ci", "build")
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		w.ci(candidate, "ci", "success")
		_, err := h.hub.CheckRun(h.name, gate.SHA(candidate), "Actions", "build", "")
		w.must(err)
		w.says(pr, "build")
		if w.pr(pr).Merged {
			t.Fatal("it landed before its check run was done")
		}
		_, err = h.hub.CheckRun(h.name, gate.SHA(candidate), "Actions", "build", "success")
		w.must(err)
		if got := w.landed(pr); got.Head.SHA != candidate {
			t.Errorf("%s was tested, %s landed", candidate, got.Head.SHA)
		}
	}, "github")
}

// An installation's tokens end; the next call makes a new one.
func TestTokensEnd(t *testing.T) {
	only(t, "limits", func(t *testing.T, w *world) {
		h := w.stage.(*hubStage)
		w.manual()
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		h.hub.ExpireTokens()
		w.ci(candidate, "ci", "success")
		w.landed(pr)
	}, "github")
}

// GitHub says "too much" in the middle of a landing: mergegate waits as long as it
// is told, and nothing is lost or done twice.
func TestRateLimits(t *testing.T) {
	for name, limit := range map[string]func() localhub.Fault{
		"primary":           func() localhub.Fault { return localhub.PrimaryLimit(403, time.Now().Add(4*time.Second)) },
		"primary with 429":  func() localhub.Fault { return localhub.PrimaryLimit(429, time.Now().Add(4*time.Second)) },
		"secondary":         func() localhub.Fault { return localhub.SecondaryLimit(403, 3*time.Second) },
		"secondary and 429": func() localhub.Fault { return localhub.SecondaryLimit(429, 3*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			only(t, "limits", func(t *testing.T, w *world) {
				h := w.stage.(*hubStage)
				w.start()
				pr := w.pull("left", map[string]string{"left": "1"})
				w.pushMain("other", "moved on")
				var once sync.Once
				struck := make(chan struct{})
				w.beforeLanding(func() {
					once.Do(func() {
						fault := limit()
						fault.Times = 1
						h.hub.Fault(fault)
						close(struck)
					})
				})
				w.label(w.bob, pr)
				w.landed(pr)
				<-struck
				if main := w.mainIsGreen(); len(main) != 3 {
					t.Errorf("main has %d commits, want 3", len(main))
				}
			}, "github")
		})
	}
}

// A renamed repository is the same repository, on GitHub by itself, on Gitea once
// the configuration says so.
func TestRenamed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manual()
		bot := w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		old := w.repo()
		w.rename("gadgets")
		w.in("remote", "set-url", "origin", w.cloneURL(w.carol, w.repo()))
		w.ci(candidate, "ci", "success")
		if !w.onGitHub() {
			differs(t, "a renamed repository")
			w.until("the page to say what is wrong", func() bool { return strings.Contains(bot.page("/"), "301") })
			bot.stop()
			config, err := os.ReadFile(filepath.Join(bot.dir, "config.yaml"))
			w.must(err)
			bot.file("config.yaml", strings.ReplaceAll(string(config), old, w.repo()))
			bot.run()
		}
		w.landed(pr)
	})
}

// A repository where nothing happens costs nothing: every poll is answered "not
// modified", which GitHub does not count. Signing in again once an hour is an App's
// call, not the installation's.
func TestIdleIsFree(t *testing.T) {
	only(t, "limits", func(t *testing.T, w *world) {
		if w.hooks {
			w.poll = "1s"
		}
		var mu sync.Mutex
		paid, free := 0, 0 // since the last one that counted
		answered := func(r *http.Request, status int) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case !strings.HasPrefix(r.URL.Path, "/api/"):
			case status == http.StatusNotModified:
				free++
			default:
				paid, free = paid+1, 0
			}
		}
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		w.landed(pr)
		w.proxy.answered.Store(&answered)
		w.until("sixty calls in a row that cost nothing", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return free >= 60
		})
		mu.Lock()
		defer mu.Unlock()
		t.Logf("%d calls counted until it was quiet, then %d in a row did not", paid, free)
	}, "github", "token")
}

// A right that is missing only after the landing: the outcome is told once it is
// back.
func TestStatusRefusedAfterTheLanding(t *testing.T) {
	only(t, "limits", func(t *testing.T, w *world) {
		h := w.stage.(*hubStage)
		w.manual()
		bot := w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		candidate := w.testing(pr)
		w.must(h.hub.SetPermission(h.app.ID, "statuses", "read"))
		w.ci(candidate, "ci", "success")
		w.until("it to land", func() bool { return w.pr(pr).Merged })
		w.until("the page to say what is wrong", func() bool { // the next round, which a webhook may bring at once, knows the reason
			page := bot.page("/")
			return strings.Contains(page, "set the status of #1") || strings.Contains(page, "has no write access")
		})
		w.must(h.hub.SetPermission(h.app.ID, "statuses", "write"))
		w.landed(pr)
	}, "github")
}

// Two queues on one branch would undo each other's work: where GitHub's own is on, a
// request waits, says why, and goes on when it is off.
func TestGitHubsOwnQueue(t *testing.T) {
	only(t, "GitHub's own queue", func(t *testing.T, w *world) {
		h := w.stage.(*hubStage)
		id, err := h.hub.AddRuleset(h.name, localhub.Ruleset{Name: "queue", Branch: "main", MergeQueue: true})
		w.must(err)
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		w.says(pr, "GitHub's own merge queue is on for main")
		w.until("its status to say so too", func() bool {
			return strings.HasPrefix(w.status(w.pr(pr).Head.SHA), "pending: Waiting: a maintainer to end this")
		})
		w.must(h.hub.RemoveRuleset(h.name, id))
		w.landed(pr)
	}, "github")
}
