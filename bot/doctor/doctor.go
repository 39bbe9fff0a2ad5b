// Package doctor answers two questions of the person who runs mergegate: what
// stands in the way (Check), and can you mend it for me (Setup).
//
// Check looks at the machine, each forge and each repository, and says one line
// for each thing: ok, warn or fail, and how to mend it. A fail means that
// something will not work; a warn means that it works, but slower or less
// safely than it could. One broken repository does not hide the others.
//
// Setup makes what is missing and may be made: the webhook, the request label,
// the queue issue, the fast-forward-only way to merge. It looks before each
// step, so a second run finds nothing to do. It edits nothing that is not
// mergegate's own: a webhook is ours when it delivers to our URL. Two of them
// at the same moment can both create what neither found; run one.
//
// Check never changes anything on the forge or in data_dir. It does fetch the
// newest commit of each base branch, into a temporary folder, because that
// shows whether git gets through and what the repository's policy says.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"mergegate/bot/config"
	"mergegate/forge"
	"mergegate/internal/git"
	"mergegate/templates"
)

// Level is how bad a finding is.
type Level string

const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
	Done Level = "done" // Setup made it
	Plan Level = "plan" // Setup would make it
)

// Finding is one line of the report.
type Finding struct {
	Level   Level  `json:"level"`
	Subject string `json:"subject"` // "machine", a forge, a repository, a branch
	What    string `json:"what"`
	Mend    string `json:"mend,omitempty"` // what to do next
}

func (f Finding) String() string {
	line := fmt.Sprintf("%-4s  %s: %s", f.Level, f.Subject, f.What)
	if f.Mend != "" {
		line += " — " + f.Mend
	}
	return line
}

// Forge is what doctor needs of a forge.
type Forge interface {
	forge.Forge
	forge.Admin
}

// Sandbox is what retest commands run in; retest.Sandbox is one.
type Sandbox interface {
	String() string
	Weak() bool // the command sees the bot's files and network
}

// Doctor looks after one configuration.
type Doctor struct {
	Config  *config.Config
	Forges  map[string]Forge // by name in the configuration
	Sandbox Sandbox          // what was found on this machine
}

// report passes findings on, and remembers whether one was a fail.
type report struct {
	say    func(Finding)
	failed bool
}

func (r *report) add(l Level, subject, what, mend string) {
	r.failed = r.failed || l == Fail
	line := func(s string) string { return templates.Clean(strings.ReplaceAll(s, "\n", "; ")) } // a terminal reads it
	r.say(Finding{Level: l, Subject: line(subject), What: line(what), Mend: line(mend)})
}

// Check calls say for each finding, in order, and answers whether none is a
// fail. It may be repeated and run beside a running bot.
func (d *Doctor) Check(ctx context.Context, say func(Finding)) bool {
	r := &report{say: say}
	d.checkMachine(ctx, r)
	for _, conf := range d.Config.Forges {
		d.checkForge(ctx, r, conf)
	}
	return !r.failed
}

func (d *Doctor) checkMachine(ctx context.Context, r *report) {
	const subject = "machine"
	for _, l := range d.Config.LooseFiles() {
		level := Warn
		if l.Everybody {
			level = Fail // serve does not start
		}
		r.add(level, subject, l.What(), l.Mend())
	}
	if v, err := git.Version(ctx); err != nil {
		r.add(Fail, subject, err.Error(), "install git 2.39.4 or newer, and have it in PATH")
	} else if advice := git.Advice(v); advice != "" {
		r.add(Warn, subject, advice, "")
	} else {
		r.add(OK, subject, "git "+v, "")
	}
	if d.Sandbox.Weak() {
		r.add(Warn, subject, "sandbox "+d.Sandbox.String(), "install bubblewrap, or allow unprivileged user namespaces, or run on Linux 6.12 or newer with landlock")
		if d.Config.Sandbox.Unsafe {
			r.add(Warn, subject, "sandbox.unsafe is on: changes by strangers are run as well", "set sandbox.unsafe: false, and they wait for a sandbox")
		}
	} else {
		r.add(OK, subject, "sandbox "+d.Sandbox.String(), "")
	}
	if dir, err := writable(d.Config.DataDir); err != nil {
		r.add(Fail, subject, fmt.Sprintf("data_dir %s cannot be written: %v", d.Config.DataDir, err), fmt.Sprintf("make %s writable for the user mergegate runs as, or set data_dir", dir))
	} else {
		r.add(OK, subject, "data_dir "+d.Config.DataDir+" can be written", "")
	}
	d.checkPages(r)
	for _, f := range d.Config.Forges {
		if loopback(d.Config.ExternalURL) && !loopback(f.URL) {
			r.add(Warn, subject, fmt.Sprintf("external_url %s means this machine, but %s is elsewhere", d.Config.ExternalURL, f.URL), "set external_url to where the forge and people reach mergegate")
			break
		}
	}
}

// checkPages says who can read the pages.
func (d *Doctor) checkPages(r *report) {
	const subject = "machine"
	pages := d.Config.Pages
	switch {
	case pages.Auth == config.PagesToken:
		if _, err := pages.Token(); err != nil {
			r.add(Fail, subject, err.Error(), "make one with: openssl rand -hex 32")
			return
		}
		r.add(OK, subject, "pages are for those who know the token", "")
	case pages.Auth == config.PagesProxy:
		r.add(OK, subject, fmt.Sprintf("pages are for whom the proxy at %s names in %s; it must take out what others put there", strings.Join(pages.Proxies, ", "), pages.Header), "")
	case loopback(d.Config.ExternalURL):
		r.add(OK, subject, "pages are for this machine only", "")
	default:
		r.add(Warn, subject, "pages.auth is none and external_url is elsewhere: only queues with public: true are shown", "set pages.auth to token or proxy")
	}
}

// writable says whether files can be made in dir, or dir itself can be made.
// It names the folder that decides, and does not write.
func writable(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir)
			continue
		}
		if err == nil && !info.IsDir() {
			err = errors.New("it is not a folder")
		}
		if err == nil {
			err = unix.Access(dir, unix.W_OK|unix.X_OK)
		}
		return dir, err
	}
}

// loopback says whether a URL points to the machine it is used on.
func loopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// checkSecrets reads each secret of a forge once. Without its token or key there
// is no point in asking the forge anything.
func checkSecrets(r *report, conf config.Forge) (account bool) {
	err := conf.CheckAccount()
	account = err == nil
	if err != nil {
		r.add(Fail, conf.Name, err.Error(), "")
	}
	if secret, err := conf.WebhookSecret(); err != nil {
		r.add(Fail, conf.Name, err.Error(), "")
	} else if len(secret) < 16 {
		r.add(Warn, conf.Name, "the webhook secret is shorter than 16 characters", "make one with: openssl rand -hex 32")
	}
	if all, err := conf.WebhookSecrets(); err == nil && len(all) > 1 {
		r.add(Warn, conf.Name, fmt.Sprintf("what was signed with %d previous webhook secrets is still believed", len(all)-1),
			"empty "+conf.WebhookSecretPreviousFile+" when every replica and webhook has the new one, see docs/operate.md")
	}
	return account
}
