package stories

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Green alone, red together: main never gets red.
func TestGreenAloneRedTogether(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		left := w.pull("left", map[string]string{"left": "1"})
		right := w.pull("right", map[string]string{"right": "1"})
		w.label(w.bob, left)
		w.landed(left)
		w.label(w.bob, right)
		w.dropped(right, "Retest failed: exit 1")
		w.mainIsGreen()
		if w.has("right") {
			t.Error("main has both")
		}
	})
}

func TestConflictIsDroppedWithItsFiles(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		w.pushMain("shared.txt", "one\ntwo\nthree\n")
		pr := w.pull("mine", map[string]string{"shared.txt": "one\nmine\nthree\n"})
		w.pushMain("shared.txt", "one\ntheirs\nthree\n")
		head := w.pr(pr).Head.SHA
		w.label(w.bob, pr)
		w.dropped(pr, "Conflict with main in 1 file")
		text := w.sticky(pr)
		for _, want := range []string{"shared", "content", "git rebase", "git push --force-with-lease", "change shared"} {
			if !strings.Contains(text, want) {
				t.Errorf("the report does not say %q:\n%s", want, text)
			}
		}
		if got := w.pr(pr).Head.SHA; got != head {
			t.Errorf("the branch was moved from %s to %s", head, got)
		}
		// What the report says to do works: mend it, ask again.
		w.in("fetch", "-q", "origin")
		w.in("switch", "-q", "-C", "mine", "origin/main")
		w.commit(map[string]string{"shared.txt": "one\nboth\nthree\n"})
		w.in("push", "-q", "--force", "origin", "mine")
		w.until("the push to be noted", func() bool { return w.pushed(pr) }) // else it may count as later than the label
		w.label(w.bob, pr)
		w.landed(pr)
	})
}

// A red retest is dropped with the end of its log, and the whole log has a page.
func TestRedIsDroppedWithItsLog(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 0}\n  retest: {command: 'echo a line of the log; cat note; exit 3', timeout: 1m}\n"
		w.start()
		pr := w.pull("bad", map[string]string{"note": "see ``` #1 @" + w.alice.name})
		w.label(w.bob, pr)
		w.dropped(pr, "Retest failed: exit 3")
		text := w.sticky(pr)
		if !strings.Contains(text, "a line of the log") {
			t.Errorf("no log in the comment:\n%s", text)
		}
		page := regexp.MustCompile(`http://\S+/log/[a-z0-9]+`).FindString(text)
		resp, err := http.Get(page)
		w.must(err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		w.must(err)
		if resp.StatusCode != 200 || !strings.Contains(string(body), "a line of the log") {
			t.Errorf("the log page %s answered %d:\n%s", page, resp.StatusCode, body)
		}
	})
}

func TestTimeoutIsDropped(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 0}\n  retest: {command: 'echo begun; sleep 600', timeout: 2s}\n"
		w.start()
		pr := w.pull("slow", map[string]string{"slow": "1"})
		w.label(w.bob, pr)
		w.dropped(pr, "Retest failed: timed out")
	})
}

// A red CI check and one that never starts are both named.
func TestChecks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 0}\n  retest: {checks: ['ci/*', never], start_timeout: 5m}\n"
		bot := w.start()
		red := w.pull("red", map[string]string{"red": "1"})
		w.label(w.bob, red)
		w.until("the test to begin", func() bool { return w.state(red) == "testing" })
		w.ci(w.pr(red).Head.SHA, "ci/unit", "failure")
		w.dropped(red, `Retest failed: the CI check "ci/unit" failed`)
		bot.stop()
		config, err := os.ReadFile(filepath.Join(bot.dir, "config.yaml"))
		w.must(err)
		bot.file("config.yaml", strings.Replace(string(config), "start_timeout: 5m", "start_timeout: 4s", 1))
		bot.run()
		silent := w.pull("silent", map[string]string{"silent": "1"})
		w.ci(w.pr(silent).Head.SHA, "ci/unit", "success")
		w.label(w.bob, silent)
		w.dropped(silent, `Cannot reach the CI check "never": never started`)
	})
}

// Without a retest nothing lands, and the PR says so.
func TestNoRetestNeverLands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.policy = "  require: {approvals: 0}\n"
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, pr)
		w.says(pr, "no retest is configured")
		if w.pr(pr).Merged {
			t.Error("it was merged untested")
		}
	})
}
