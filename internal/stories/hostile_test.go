package stories

import (
	"os/exec"
	"strings"
	"testing"
)

// A pull request whose objects git must not take is dropped with the reason, and
// the next one lands: it does not hold the queue. Only on Gitea: the local GitHub
// checks what is pushed, as GitHub does.
func TestAttack67PoisonedPRIsToldAndTheNextLands(t *testing.T) {
	t.Parallel()
	tellOn(t, func(t *testing.T, w *world) {
		w.start()
		w.branch("evil", "origin/main", map[string]string{"evil": "1"})
		author := "author E <e@example.test> 1700000000 +0000\n"
		evil := w.store("commit", "tree "+w.in("rev-parse", "evil^{tree}")+"\nparent "+w.in("rev-parse", "origin/main")+"\n"+
			author+author+"committer E <e@example.test> 1700000000 +0000\n\nevil\n")
		w.in("push", "-q", "origin", evil+":refs/heads/poisoned")
		poisoned := w.propose(w.carol, "poisoned", "main", "Evil")
		w.label(w.bob, poisoned)
		w.dropped(poisoned, "check refuses its objects")
		good := w.pull("left", map[string]string{"left": "1"})
		w.label(w.bob, good)
		w.landed(good)
	}, "gitea")
}

// store stores an object in carol's clone that git would not make.
func (w *world) store(kind, content string) string {
	w.Helper()
	cmd := exec.Command("git", "-C", w.clone, "hash-object", "-t", kind, "--literally", "-w", "--stdin")
	cmd.Stdin = strings.NewReader(content)
	out, err := cmd.Output()
	w.must(err)
	return strings.TrimSpace(string(out))
}
