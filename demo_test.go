package main

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mergegate/internal/demo"
	"mergegate/internal/ghspec"
)

// transcript collects what a command prints while it runs.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// performance is a running demo.
type performance struct {
	*testing.T
	out, errors transcript
	tmp         string // where temporary files go
	interrupt   func() // Ctrl-C
	code        chan int
}

func perform(t *testing.T, args ...string) *performance {
	p := &performance{T: t, tmp: t.TempDir(), code: make(chan int, 1)}
	t.Setenv("TMPDIR", p.tmp)
	ctx, interrupt := context.WithCancel(t.Context())
	p.interrupt = interrupt
	go func() { p.code <- run(ctx, append([]string{"demo"}, args...), &p.out, &p.errors) }()
	return p
}

// until waits for a text. The test is skipped when Gitea cannot be built here.
func (p *performance) until(what string) {
	p.Helper()
	for deadline := time.After(20 * time.Minute); !strings.Contains(p.out.String(), what); {
		select {
		case c := <-p.code:
			if strings.HasPrefix(p.errors.String(), "mergegate: build Gitea:") {
				p.Skip(p.errors.String())
			}
			p.Fatalf("the demo ended with %d before it said %q\n%s%s", c, what, p.out.String(), p.errors.String())
		case <-deadline:
			p.Fatalf("the demo never said %q\n%s", what, p.out.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop presses Ctrl-C. The demo must end with the given code and leave nothing.
func (p *performance) stop(want int) {
	p.Helper()
	p.interrupt()
	if c := <-p.code; c != want {
		p.Errorf("after Ctrl-C it ended with %d, want %d: %s", c, want, p.errors.String())
	}
	if left, err := os.ReadDir(p.tmp); err != nil || len(left) > 0 {
		p.Errorf("it left %v behind (%v)", left, err)
	}
}

// Without a word about the forge the demo plays on the local GitHub, where
// nobody signs in.
func TestDemo(t *testing.T) {
	visit(t, nil, func(t *testing.T, story string) (string, *http.Request) {
		door := regexp.MustCompile(`pull request +(http\S+)/pull/(\d+) `).FindStringSubmatch(story)
		if door == nil {
			t.Fatalf("the demo does not say where to go:\n%s", story)
		}
		form := url.Values{"as": {"mia"}, "do": {"label"}, "text": {"merge"}}
		r, err := http.NewRequest(http.MethodPost, door[1]+"/act/"+door[2], strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return door[1], r
	})
}

func TestDemoOnGitea(t *testing.T) {
	visit(t, []string{"--forge", "gitea"}, func(t *testing.T, story string) (string, *http.Request) {
		door := regexp.MustCompile(`(http\S+)/user/login  as (\S+), password (\S+)`).FindStringSubmatch(story)
		if door == nil {
			t.Fatalf("the demo does not say where to go:\n%s", story)
		}
		r, err := http.NewRequest(http.MethodPost, door[1]+"/api/v1/repos/mia/greetings/issues/7/labels", strings.NewReader(`{"labels":["merge"]}`))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(door[2], door[3])
		r.Header.Set("Content-Type", "application/json")
		return door[1], r
	})
}

// visit plays the demo to its end, then is the visitor who labels one more pull
// request and presses Ctrl-C. label reads in the story where the forge is, and
// how #7 is labelled.
func visit(t *testing.T, args []string, label func(t *testing.T, story string) (forge string, labels *http.Request)) {
	p := perform(t, append(args, "--serve")...)
	p.until("Ctrl-C ends everything and removes it.")
	story := p.out.String()
	for _, want := range []string{
		`#3  Greet the moon +[0-9a-f]{7}  green\n`,
		`#1  success  Landed as [0-9a-f]{7}\n`,
		`#2  success  Landed as [0-9a-f]{7}\n`,
		`#3  failure  Retest failed: exit 1\n`,
		`#3  comment  cmd/moon.sh is broken\n`,
		`#4  failure  Conflict with main in 1 file\n`,
		`#4  comment  \| lib.sh \| content \|`,
		`#5  success  Landed as [0-9a-f]{7}\n`,
		`( {4}[0-9a-f]{7}  [0-9a-f ]{7}  [0-9a-f]{7}  green  .+\n){4}\n`,
		`#2  Rename greet to hello +landed, rebased, as [0-9a-f]{7}\n`,
		`#3  Greet the moon +dropped, its test failed; on top of main it is red\n`,
		`All is as it must be`,
	} {
		if !regexp.MustCompile(want).MatchString(story) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	if strings.Contains(story, "\x1b") {
		t.Error("there are colours, but this is not a terminal")
	}
	for line := range strings.Lines(story) {
		if len([]rune(line)) > 101 && !strings.Contains(line, p.tmp) {
			t.Errorf("this line is wider than 100 characters: %s", line)
		}
	}
	if t.Failed() {
		t.Log(story)
	}

	forge, labels := label(t, story)
	page := regexp.MustCompile(`mergegate +(http\S+)`).FindStringSubmatch(story)
	if page == nil {
		t.Fatalf("the demo does not say where mergegate's pages are:\n%s", story)
	}
	resp, err := http.Get(page[1])
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("mergegate's page answers %s", resp.Status)
	}
	if resp, err = http.DefaultClient.Do(labels); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the forge answers %s when #7 is labelled", resp.Status)
	}
	p.until("#7  success  Landed as")

	p.stop(0)
	if resp, err := http.Get(forge); err == nil {
		resp.Body.Close()
		t.Error("the forge is still there")
	}
}

// All that is said in the demo is as GitHub's own description has it.
func TestDemoIsJudged(t *testing.T) {
	judge, err := ghspec.New()
	if err != nil {
		t.Fatal(err)
	}
	var out transcript
	t.Setenv("TMPDIR", t.TempDir())
	err = demo.Run(t.Context(), demo.Options{Out: &out, Forge: "localhub", Mergegate: onStage, Hub: demo.Watch{
		Wrap:    judge.Handler,
		Emitted: func(event, action string, body []byte) { judge.Webhook(event, action, body) },
	}})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	r := judge.Report()
	if err := r.Print("demo"); err != nil {
		t.Error(err)
	}
	if len(r.Violations) > 0 || r.Exchanges < 100 || r.Webhooks < 20 || !slices.Contains(r.Operations, "git/update-ref") {
		t.Errorf("it is not what GitHub would have said, or not all of it was heard: %s", r)
	}
}

// Whoever stops the story did not see it end well.
func TestDemoStopped(t *testing.T) {
	p := perform(t)
	p.until("only mergegate acts")
	p.stop(1)
	if want := "mergegate: stopped before the story was over; nothing is left of it\n"; p.errors.String() != want {
		t.Errorf("it said %q, want %q", p.errors.String(), want)
	}
}

func TestDemoForge(t *testing.T) {
	var out, errors transcript
	if code := run(t.Context(), []string{"demo", "--forge", "github"}, &out, &errors); code != 2 || !strings.Contains(errors.String(), `must be one of "localhub","gitea"`) {
		t.Errorf("it ended with %d: %s", code, errors.String())
	}
}
