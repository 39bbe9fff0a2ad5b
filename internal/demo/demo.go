// Package demo tells the story of five pull requests: two that are green alone
// and red together, one that conflicts, and three that land, two of them after
// having been caught up with main. It is told on a local GitHub (forge/localhub),
// which takes seconds, or on a real Gitea, which is built first; each is a world
// (world.go), and the story, its judgement and its proof are the same.
//
// It stands where people stand: files, reviews and labels are people's, and
// everything it prints of mergegate was read from the forge's API or in a clone
// of main. It does not know how mergegate works; the one who calls Run brings
// mergegate along, as the real program with webhooks and defaults.
//
// The story has one right outcome (story.go), and Run fails unless that is what
// happened (judge.go). The judgement rests on git and on the forge's answers,
// the timeline above it is for reading only.
//
// Everything lives in one temporary directory and on loopback ports, and ends
// with Run. Only after a failure mergegate's log is left, in the directory for
// temporary files. Nothing here is fit for keeping: the accounts' passwords are
// known to everybody.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mergegate/internal/giteatest"
)

// Place is where mergegate finds its forge, and where it has to serve.
type Place struct {
	Type       string // gitea or github
	URL        string // of Gitea, or of GitHub's API
	Repo       string // owner/name
	TokenFile  string // of mergegate's account, which administers the repository; "" for an App
	AppID      int    // of mergegate's App, installed on the repository; 0 for an account
	KeyFile    string // of the App, PEM
	SecretFile string // for webhooks
	Listen     string // host:port for pages and webhooks
	DataDir    string
	Log        io.Writer
}

// Options say how the demo is run.
type Options struct {
	Out    io.Writer
	Colour bool
	Forge  string // localhub or gitea
	Stay   bool   // until ctx ends, so that people can look around
	Hub    Watch  // who watches the local GitHub; nobody has to
	// Mergegate sets the repository up and serves it until ctx ends, which is
	// not an error.
	Mergegate func(ctx context.Context, p Place) error
}

// Watch is told all that is said with the local GitHub, see localhub.Options.
type Watch struct {
	Wrap    func(http.Handler) http.Handler
	Emitted func(event, action string, body []byte)
}

// Run tells the story. On Gitea it builds that the first time, which takes
// minutes. It returns nil when the outcome is as it must be; an error says what is not, or
// what could not be done. When ctx ends during the story that is an error, after
// it that is the end of a stay. Runs do not disturb each other.
func Run(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp("", "mergegate-demo-")
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	log, err := os.OpenFile(filepath.Join(dir, "mergegate.log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	defer log.Close()
	s := &stage{Options: o, page: page{o.Out, o.Colour}, dir: dir, log: log, began: time.Now()}
	err = s.perform(ctx)
	switch {
	case err == nil, s.over && ctx.Err() != nil:
		return nil
	case ctx.Err() != nil:
		return errors.New("stopped before the story was over; nothing is left of it")
	}
	if info, statErr := log.Stat(); statErr == nil && info.Size() > 0 {
		kept := dir + ".log"
		if os.Rename(log.Name(), kept) == nil {
			err = fmt.Errorf("%w\nWhat mergegate did is in %s", err, kept)
		}
	}
	return err
}

// patience is how long the pull requests may take to end. It is long because a
// machine may be slow; what did not end by then is judged as it is.
const patience = 3 * time.Minute

// stage is one run of the demo.
type stage struct {
	Options
	page  page
	dir   string
	log   *os.File
	began time.Time
	world world
	clone *clone
	watch *watch
	over  bool // the story was told, and judged as right
}

// perform is the whole demo, from the empty stage to the judgement.
func (s *stage) perform(ctx context.Context) error {
	s.page.line(bold, "mergegate demo: five pull requests and a merge queue")
	s.page.say(
		"Two pull requests can each pass their tests and still break the main branch together. A merge",
		"queue prevents that: it takes requests one after another, rebases each onto main as it is by then,",
		"tests exactly that commit, and lands exactly that commit, if its test passed.")
	var err error
	if s.world, err = s.build(ctx); err != nil {
		return err
	}
	defer s.world.stop()
	if s.clone, err = newClone(ctx, s.dir, s.world); err != nil {
		return fmt.Errorf("prepare a clone: %w", err)
	}
	fates, err := s.open(ctx)
	if err != nil {
		return fmt.Errorf("open the pull requests: %w", err)
	}

	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	defer func() { cancel(nil); <-ended }() // before the forge stops: mergegate says goodbye to it
	place, err := s.place(ctx)
	if err != nil {
		close(ended)
		return err
	}
	go func() {
		defer close(ended)
		if err := s.Mergegate(ctx, place); err != nil {
			cancel(fmt.Errorf("mergegate ended: %w", err))
		}
	}()
	err = s.play(ctx, place, fates)
	s.over = err == nil
	if s.over && s.Stay {
		err = s.stay(ctx, place)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// build starts the forge of the story.
func (s *stage) build(ctx context.Context) (world, error) {
	home := filepath.Join(s.dir, "forge")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, fmt.Errorf("start the forge: %w", err)
	}
	if s.Forge == "gitea" {
		s.page.say("The forge is a real Gitea " + giteatest.Version + ". The very first time it has to be built, which takes minutes.")
		return newGitea(ctx, home, s.Out)
	}
	s.page.say("The forge is a small GitHub inside this program, with real git. mergegate is a GitHub App on it.")
	return newHub(ctx, home, s.Hub)
}

// open opens the pull requests and shows that each is green alone.
func (s *stage) open(ctx context.Context) ([]fate, error) {
	s.page.say("Ada opens five pull requests. The test passes on each of them, as long as it is alone:", "")
	var fates []fate
	for _, c := range story() {
		n, head, err := s.world.propose(ctx, c)
		if err != nil {
			return nil, err
		}
		fates = append(fates, fate{change: c, number: n, opened: head})
	}
	if err := s.clone.fetch(ctx); err != nil {
		return nil, err
	}
	for i := range fates {
		f := &fates[i]
		var err error
		if f.alone, err = s.clone.test(ctx, f.opened); err != nil {
			return nil, err
		}
		s.page.line(plain, "    #%d  %-26s %s  %s", f.number, f.title, short(f.opened), colourOf(f.alone))
	}
	return fates, nil
}

func colourOf(green bool) string {
	if green {
		return "green"
	}
	return "red"
}

// place prepares what mergegate needs to start.
func (s *stage) place(ctx context.Context) (Place, error) {
	p, err := s.world.hire(ctx, s.dir)
	if err != nil {
		return Place{}, fmt.Errorf("give mergegate an account: %w", err)
	}
	p.DataDir, p.Log = filepath.Join(s.dir, "data"), s.log
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Place{}, fmt.Errorf("find a free port: %w", err)
	}
	p.Listen = l.Addr().String()
	return p, l.Close()
}

// play asks for the five, watches, and judges.
func (s *stage) play(ctx context.Context, p Place, fates []fate) error {
	s.page.say("mergegate starts, and creates its label, its webhook and its queue issue in the repository.")
	if err := ready(ctx, "http://"+p.Listen+"/readyz"); err != nil {
		return fmt.Errorf("wait for mergegate: %w", err)
	}
	s.page.say("Mia approves all five and labels them at once. From here on, only mergegate acts:", "")
	s.watch = newWatch(s.world, s.page, time.Now())
	cast := map[int]change{}
	for _, f := range fates {
		cast[f.number] = f.change
		if err := s.world.approve(ctx, f.number); err != nil {
			return err
		}
	}
	for _, f := range fates {
		if err := s.world.request(ctx, f.number); err != nil {
			return err
		}
	}
	watching, done := context.WithTimeout(ctx, patience)
	defer done()
	if err := s.watch.follow(watching, cast); err != nil && watching.Err() == nil {
		return err
	}
	return s.verdict(ctx, fates)
}

// ready waits until mergegate serves. It gives up when ctx ends, as it does when
// mergegate ends.
func ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(glance):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// verdict reads what became of everything, shows it, and compares it with the story.
func (s *stage) verdict(ctx context.Context, fates []fate) error {
	if err := s.read(ctx, fates); err != nil {
		return fmt.Errorf("read the outcome: %w", err)
	}
	main, err := s.clone.history(ctx)
	if err != nil {
		return fmt.Errorf("read main: %w", err)
	}
	s.page.say("The proof, from a clone: every commit of main, and the test run on each of them.", "",
		"    commit   parent   tree     test   title")
	for i := range main {
		c := &main[i]
		if c.green, err = s.clone.test(ctx, c.sha); err != nil {
			return err
		}
		s.page.cut(plain, "    %s  %-7s  %s  %-5s  %s", short(c.sha), short(c.parent), short(c.tree), colourOf(c.green), c.title)
	}
	s.page.say("The outcome. Nothing but the test could have stopped #3: it merges without a conflict.", "")
	for _, f := range fates {
		text := string(f.became())
		switch {
		case f.landedAs != "" && f.head == f.opened:
			text += " as it was opened, " + short(f.landedAs)
		case f.landedAs != "":
			text += ", rebased, as " + short(f.landedAs)
		case f.head != f.opened:
			text += "; on top of main it is " + colourOf(f.now)
		}
		s.page.cut(plain, "    #%d  %-26s %s", f.number, f.title, text)
	}
	leases, err := s.world.leases(ctx)
	if err != nil {
		return fmt.Errorf("look for leases: %w", err)
	}
	if wrong := judge(fates, main, leases); len(wrong) > 0 {
		return fmt.Errorf("the outcome is not as it must be:\n  %s", strings.Join(wrong, "\n  "))
	}
	s.page.line(plain, "")
	s.page.line(good, "All is as it must be: each commit of main is the commit that was tested, on the parent it was")
	s.page.line(good, "tested on, and no lease is left. It took %.0f s.", time.Since(s.began).Seconds())
	return nil
}

// read fills in what the forge says of each pull request now.
func (s *stage) read(ctx context.Context, fates []fate) error {
	pulls, err := s.world.pulls(ctx)
	if err != nil {
		return err
	}
	if err := s.clone.fetch(ctx); err != nil {
		return err
	}
	for i := range fates {
		f := &fates[i]
		for _, p := range pulls {
			if p.Number != f.number {
				continue
			}
			f.head, f.requested = p.Head.SHA, p.requested()
			if p.merged() {
				f.landedAs = p.Commit
			}
		}
		if f.now, err = s.clone.test(ctx, f.head); err != nil {
			return err
		}
		statuses, err := s.world.statuses(ctx, f.head)
		if err != nil {
			return err
		}
		if len(statuses) > 0 {
			f.status = statuses[len(statuses)-1].Text
		}
		if f.comments, err = s.world.comments(ctx, f.number); err != nil {
			return err
		}
	}
	return nil
}

// stay opens one more pull request for people to label, and tells what happens
// until ctx ends.
func (s *stage) stay(ctx context.Context, p Place) error {
	n, _, err := s.world.propose(ctx, encore())
	if err == nil {
		err = s.world.approve(ctx, n)
	}
	if err != nil {
		return fmt.Errorf("open one more pull request: %w", err)
	}
	s.page.say(fmt.Sprintf("Your turn: #%d is open and approved. Give it the label %q, and watch.", n, requestLabel), "")
	for _, line := range s.world.invite(n) {
		s.page.line(plain, "%s", line)
	}
	s.page.line(plain, "    mergegate        http://%s/", p.Listen)
	s.page.line(plain, "    mergegate's log  %s", s.log.Name())
	s.page.say("Ctrl-C ends everything and removes it.", "")
	if err := s.watch.follow(ctx, map[int]change{n: encore()}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
