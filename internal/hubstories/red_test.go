package hubstories

import (
	"strings"
	"testing"
)

// Green alone, red together: main never gets red.
func TestGreenAloneRedTogether(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		left := w.pull("left", "left", "1")
		right := w.pull("right", "right", "1")
		w.label(bob, left)
		w.landed(left)
		w.label(bob, right)
		w.dropped(right, "Retest failed: exit 1")
		w.until("the check run to say so", func() bool {
			return strings.HasPrefix(w.checkRun(w.pr(right).Head.SHA), "failure: Retest failed")
		})
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
		pr := w.pull("mine", "shared.txt", "one\nmine\nthree\n")
		w.pushMain("shared.txt", "one\ntheirs\nthree\n")
		head := w.pr(pr).Head.SHA
		w.label(bob, pr)
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
		w.branch("mine", "shared.txt", "one\nboth\nthree\n") // mended, as the report says
		w.label(bob, pr)
		w.landed(pr)
	})
}
