package stories

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mergegate/gate"
)

var (
	seal  = regexp.MustCompile(`hmac=[0-9a-f]{64}`)
	since = regexp.MustCompile(`"state":"queued","since":"[^"]+"`)
)

// The webhook secret is replaced while a queue is frozen and a request waits in it:
// without a restart the freeze and the request stand, and the note gets a new seal.
func TestWebhookSecretIsReplaced(t *testing.T) {
	t.Parallel()
	tellOn(t, func(t *testing.T, w *world) {
		w.role(w.bot, gate.RoleAdmin)
		bot := w.start()
		bot.stop()
		config, err := os.ReadFile(filepath.Join(bot.dir, "config.yaml"))
		w.must(err)
		bot.file("config.yaml", strings.Replace(string(config), "webhook_secret_file: secret", "webhook_secret_file: secret, webhook_secret_previous_file: previous", 1))
		bot.run()

		pr := w.pull("left", map[string]string{"left": "1"})
		w.comment(w.alice, pr, "/merge freeze release day")
		w.says(pr, "is frozen: release day")
		w.label(w.bob, pr)
		w.until("the status to say so", func() bool {
			return strings.Contains(w.status(w.pr(pr).Head.SHA), "Frozen: release day")
		})
		w.until("the note to say that it is queued", func() bool { return since.MatchString(w.sticky(pr)) })
		before, queued := seal.FindString(w.sticky(pr)), since.FindString(w.sticky(pr))

		old, err := os.ReadFile(filepath.Join(bot.dir, "secret"))
		w.must(err)
		bot.file("previous", string(old)+"\n")
		bot.file("secret", "another-webhook-secret-of-the-stories")
		w.until("the note to get a new seal", func() bool {
			now := seal.FindString(w.sticky(pr))
			return now != "" && now != before
		})
		if w.pr(pr).Merged || !strings.Contains(w.status(w.pr(pr).Head.SHA), "Frozen: release day") {
			t.Errorf("the freeze was forgotten: %s", w.status(w.pr(pr).Head.SHA))
		}
		if now := since.FindString(w.sticky(pr)); now != queued {
			t.Errorf("the request was started again: %q, was %q", now, queued)
		}
		w.comment(w.alice, pr, "/merge unfreeze")
		w.landed(pr)
	}, "gitea")
}
