package stories

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mergegate/gate"
)

// audited is what mergegate audit says of one move of main.
type audited struct {
	Commit, Subject, Author, Why, By, Verdict string
	Proven                                    bool
	PR, Commits                               int
	Tree                                      string `json:"tested_tree"`
	Base                                      string `json:"tested_base"`
}

// audit runs the command with a replica's configuration. ok is that it ended with 0.
func (r *replica) audit(commits string) (moves []audited, ok bool) {
	r.w.Helper()
	cmd := exec.Command(program, "audit", "--json", "--config", filepath.Join(r.dir, "config.yaml"), "--repo", r.w.repo(), "--range", commits)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var report struct{ Moves []audited }
	if jerr := json.Unmarshal(out, &report); jerr != nil {
		r.w.Fatalf("audit %s: %v, %v\n%s\n%s", commits, err, jerr, out, stderr.String())
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	if failed && exit.ExitCode() != 1 {
		r.w.Fatalf("audit %s: %v\n%s", commits, err, stderr.String())
	}
	return report.Moves, !failed
}

// forge posts a success of mergegate's own status that leads to a PR's page, as
// whoever may write to the repository can.
func (w *world) forge(as person, sha string, bot *replica, pr int) {
	w.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"context":"mergegate","state":"success","description":"Landed as %s","target_url":"%s/p/work/%s/%d"}`, sha[:7], bot.url, w.repo(), pr))
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, w.api()+"/repos/"+w.repo()+"/statuses/"+sha, body)
	w.must(err)
	req.Header.Set("Authorization", "token "+as.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		w.Fatalf("a status by %s: %s", as.name, resp.Status)
	}
}

// What mergegate landed is proven; what a person pushed is not and is named, also
// when they forge a status and copy mergegate's comment; and neither is a landing
// whose record somebody edited.
func TestAudit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		stage  string
		method gate.Method
	}{
		{"gitea", gate.FastForward}, {"github", gate.FastForward}, {"token", gate.FastForward},
		{"gitea", gate.Merge}, {"gitea", gate.Rebase}, {"gitea", gate.Squash}, {"github", gate.Squash},
	} {
		t.Run(tc.stage+", "+string(tc.method), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.stage, false)
			w.policy = strings.Replace(w.policy, "approvals: 0", "approvals: 1", 1)
			first := w.pull("left", map[string]string{"left": "1", "left2": "2"})
			if tc.method != gate.FastForward {
				w.onlyMethod(tc.method)
			}
			w.in("fetch", "-q", "origin")
			root := w.in("rev-parse", "origin/main")
			bot := w.start()
			w.approve(w.bob, first)
			w.label(w.bob, first)
			w.landed(first)
			w.in("fetch", "-q", "origin")
			landed := w.in("rev-parse", "origin/main")

			moves, ok := bot.audit(root + "..main")
			if len(moves) != 1 || !ok {
				t.Fatalf("after one landing: %v %+v", ok, moves)
			}
			m := moves[0]
			if !m.Proven || m.PR != first || m.By != w.bob.name || m.Commit != landed || m.Base != root || m.Verdict != "passed" ||
				m.Tree != w.in("rev-parse", landed+"^{tree}") || m.Commits < 1 {
				t.Errorf("the landing: %+v", m)
			}

			if tc.stage == "github" && tc.method != gate.FastForward {
				return // the rule that forbids fast-forward there forbids pushing too
			}
			direct := w.pushMain(fmt.Sprintf("around (#%d)", first), "the gate")
			w.forge(w.carol, direct, bot, first)
			for _, c := range w.comments(first) {
				if c.User.Login == w.bot.name {
					w.comment(w.carol, first, strings.ReplaceAll(c.Body, landed, direct))
				}
			}
			second := w.pull("more", map[string]string{"more": "1"})
			w.approve(w.bob, second)
			w.label(w.bob, second)
			w.landed(second)
			moves, ok = bot.audit(root + "..main")
			if len(moves) != 3 || ok {
				t.Fatalf("after two landings and a push: %v %+v", ok, moves)
			}
			if !moves[0].Proven || moves[0].PR != second || moves[0].Base != direct || !moves[2].Proven {
				t.Errorf("the landings: %+v", moves)
			}
			if p := moves[1]; p.Proven || p.Commit != direct || p.Subject != fmt.Sprintf("change around (#%d)", first) || !strings.Contains(p.Author, w.carol.name) ||
				!strings.Contains(p.Why, "went around the gate") {
				t.Errorf("the push: %+v", p)
			}
			if moves, ok := bot.audit(direct + "..main"); len(moves) != 1 || !ok {
				t.Errorf("since the push: %v %+v", ok, moves)
			}

			for _, c := range w.comments(first) {
				if c.User.Login == w.bot.name {
					w.edit(w.alice, c.ID, strings.ReplaceAll(c.Body, w.bob.name, w.mallory.name)) // git cannot tell who asked
				}
			}
			if moves, ok := bot.audit(root + ".." + landed); len(moves) < 1 || moves[0].Proven || ok {
				t.Errorf("with an edited record: %v %+v", ok, moves)
			}
		})
	}
}
