package stories

import "testing"

func TestLabelLands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.start()
		pr := w.pull("left", map[string]string{"left": "1"})
		w.pushMain("other", "moved on")
		w.label(w.bob, pr)
		got := w.landed(pr)
		if tip := w.mainIsGreen(); got.Commit != tip[len(tip)-1] {
			t.Errorf("main is at %s, #%d landed as %s", tip[len(tip)-1], pr, got.Commit)
		}
		if !w.has("left") {
			t.Error("main does not have the change")
		}
	})
}
