package stories

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mergegate/internal/giteatest"
)

// How much TestChaos does. It is asked for:
//
//	go test ./internal/stories -run TestChaos -timeout 60m -v -args -kills 30 -drops 10
var (
	kills = flag.Int("kills", 0, "TestChaos: how often mergegate is killed around a write")
	drops = flag.Int("drops", 0, "TestChaos: how many answers are lost after the effect")
	seed  = flag.Uint64("seed", 1, "TestChaos: chooses what happens; when is up to the machine")
)

// The program is killed around its writes, stopped, cut off, left without a disk
// and without its forge, on a real Gitea, two replicas in each repository, while
// people go on asking. When it is over, git and the API must show that nothing was
// lost, that nothing landed twice or untested, and that no trace is left.
func TestChaos(t *testing.T) {
	if *kills == 0 && *drops == 0 {
		t.Skip("nothing to do: give -kills and -drops")
	}
	giteatest.Shared(t) // says what is missing, if it is
	server, err := giteatest.Start(t.Context(), giteatest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	c := &chaos{server: server, hit: map[string]int{}}
	repos := min(max(*kills/6, 2), 10)
	t.Run("repositories", func(t *testing.T) {
		for i := range repos {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				newArena(t, c, i, repos).play()
			})
		}
		t.Run("forge", func(t *testing.T) {
			t.Parallel()
			for range 1 + *kills/60 {
				time.Sleep(20 * time.Second) // not a wait for something: the time between two restarts
				c.restart(t)
			}
		})
	})
	t.Logf("seed %d: %d requests, %d of them landed", *seed, c.requests, c.landed)
	for _, what := range slices.Sorted(maps.Keys(c.hit)) {
		t.Logf("%4d  %s", c.hit[what], what)
	}
	for _, said := range c.complaints { // again, and last: what comes before is long
		t.Log(said)
	}
}

// chaos is what all repositories share.
type chaos struct {
	server *giteatest.Server
	up     sync.RWMutex // for writing while Gitea is down; people wait that long

	mu               sync.Mutex
	hit              map[string]int // what happened, by fault and write
	requests, landed int
	complaints       []string
}

func (c *chaos) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hit[what]++
}

// restart is a power cut of the forge.
func (c *chaos) restart(t *testing.T) {
	c.up.Lock()
	defer c.up.Unlock()
	if err := c.server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.count("Gitea killed and started again")
}

// arena is one repository with two replicas and the faults that are to come.
type arena struct {
	*world
	chaos   *chaos
	victims []*victim

	mu    sync.Mutex
	rand  *rand.Rand
	left  map[fault]int
	begun map[string]int // faults by write, so that each write gets its share

	tardy map[string]sender // of writes that came late, by path

	history []string // what happened, guarded by chaos.mu
}

// complain fails the test.
func (a *arena) complain(format string, args ...any) {
	a.Helper()
	said := fmt.Sprintf(format, args...)
	a.Error(said)
	a.chaos.mu.Lock()
	defer a.chaos.mu.Unlock()
	a.chaos.complaints = append(a.chaos.complaints, fmt.Sprintf("%s: %s\nwhat was done to it:\n%s", a.Name(), said, strings.Join(a.history, "\n")))
}

// strike notes a fault, and which write it struck.
func (a *arena) strike(v *victim, f fault, what, path string) {
	a.chaos.mu.Lock()
	defer a.chaos.mu.Unlock()
	a.chaos.hit[strings.TrimSpace(string(f)+" "+what)]++
	now := time.Now().UTC().Format("15:04:05.000")
	a.history = append(a.history, fmt.Sprintf("%s replica %d: %s %s %s", now, slices.Index(a.victims, v), f, what, path))
}

// ask is a request that somebody made, and what must become of it.
type ask struct {
	pr         int
	file, ends string
}

func newArena(t *testing.T, c *chaos, i, of int) *arena {
	c.up.RLock()
	defer c.up.RUnlock()
	s, p := newGitea(t, c.server)
	a := &arena{
		world: furnish(t, s, p, true), chaos: c, rand: rand.New(rand.NewPCG(*seed, uint64(i))),
		begun: map[string]int{}, tardy: map[string]sender{},
	}
	share := func(n int) int { return (n + of - 1 - i) / of }
	others := share(*drops)
	a.left = map[fault]int{
		killBefore: share(*kills) / 2, killAfter: share(*kills) - share(*kills)/2, replyLost: share(*drops),
		badBefore: others, badAfter: others, slow: others, late: 1 + share(*kills)/30, stopped: 1 + share(*kills)/30,
		diskFull: 1, wiped: 1 + share(*kills)/30,
	}
	a.poll = "2s"
	a.pushMain("shared", "one\n")
	for range 2 {
		a.proxy = newProxy(t, s.url(), a.canary)
		v := &victim{replica: a.install(fmt.Sprintf("lease: {ttl: %s, renew: 3s, settle: 300ms}\n", chaosTTL))}
		a.proxy.on(a.meddle(v))
		a.victims = append(a.victims, v)
	}
	a.victims[0].onSmallDisk(t)
	for _, v := range a.victims {
		v.launch()
		a.hear(v.replica)
	}
	return a
}

// play lets people ask until all faults have happened, then waits until every
// request has come to its end, and judges.
func (a *arena) play() {
	var open, all []ask
	deadline := time.Now().Add(patience)
	for asks := 0; ; {
		a.revive()
		if a.faultsLeft() > 0 {
			deadline = time.Now().Add(patience)
			a.disturb()
			for len(open) < 3 {
				open = append(open, a.ask(asks))
				asks++
			}
		} else if len(open) == 0 {
			break
		}
		open = slices.DeleteFunc(open, func(r ask) bool {
			ended := a.ended(r)
			if ended {
				all = append(all, r)
				deadline = time.Now().Add(patience)
			}
			return ended
		})
		if time.Now().After(deadline) {
			a.chaos.up.RLock()
			for _, r := range open {
				a.complain("#%d came to no end; labelled %v, it says:\n%s", r.pr, a.pr(r.pr).labelled(), a.notes(r.pr).text())
			}
			a.chaos.up.RUnlock()
			a.Fatal(a.logs())
		}
		time.Sleep(500 * time.Millisecond)
	}
	a.judge(all)
	if a.Failed() {
		a.Log(a.logs())
	}
}

// ask opens a pull request and labels it: mostly one that must land, at times one
// that is red or conflicts.
func (a *arena) ask(n int) ask {
	a.chaos.up.RLock()
	defer a.chaos.up.RUnlock()
	name := fmt.Sprintf("feature%d", n)
	r := ask{file: name, ends: "Landed as"}
	switch n % 6 {
	case 2:
		r.ends = "Retest failed: exit 1"
		r.pr = a.pull(name, map[string]string{name: "broken"})
	case 4:
		r.ends = "Conflict with main in 1 file"
		r.pr = a.pull(name, map[string]string{"shared": "mine\n", name: "1"})
		a.overtake("shared", fmt.Sprintf("theirs %d\n", n))
	default:
		r.pr = a.pull(name, map[string]string{name: "1"})
	}
	a.label(a.bob, r.pr)
	a.chaos.mu.Lock()
	a.chaos.requests++
	a.chaos.mu.Unlock()
	return r
}

// overtake puts a commit on main, as alice would: when mergegate was quicker, she
// tries again.
func (a *arena) overtake(file, text string) {
	for deadline := time.Now().Add(patience); ; {
		a.in("fetch", "-q", "origin")
		a.in("switch", "-q", "-C", "direct", "origin/main")
		a.commit(map[string]string{file: text})
		out, err := exec.Command("git", "-C", a.clone, "push", "-q", a.cloneURL(a.alice, a.repo()), "HEAD:main").CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			a.Fatalf("push to main: %v\n%s", err, out)
		}
	}
}

// ended says whether a request has come to the end that it must come to.
func (a *arena) ended(r ask) bool {
	a.chaos.up.RLock()
	defer a.chaos.up.RUnlock()
	pr, notes := a.pr(r.pr), a.notes(r.pr)
	text := notes.text()
	dropped := !pr.Merged && !pr.labelled() && strings.Contains(text, "sk again")
	if lands := r.ends == "Landed as"; lands && dropped || !lands && pr.Merged {
		a.complain("#%d should end with %q; merged: %v, it says:\n%s", r.pr, r.ends, pr.Merged, text)
		a.Fatal(a.logs())
	}
	if !pr.Merged && pr.labelled() || !strings.Contains(text, r.ends) && !a.excused(r.pr, notes) {
		return false
	}
	if pr.Merged {
		a.chaos.mu.Lock()
		a.chaos.landed++
		a.chaos.mu.Unlock()
	}
	return true
}

// notes are mergegate's comments on a pull request; while replicas die there may be two.
type notes []comment

func (a *arena) notes(pr int) notes {
	return slices.DeleteFunc(a.comments(pr), func(c comment) bool { return c.User.Login != a.bot.name })
}

func (n notes) text() (all string) {
	for _, c := range n {
		all += c.Body
	}
	return all
}

// sender is who sent a write that came late.
type sender struct {
	*victim
	deaths int64 // it had died so often
}

// excused says whether a write to a pull request's notes came late, and who knew
// that it might had died by then: nobody was left to look once more.
func (a *arena) excused(pr int, left notes) bool {
	return a.cameLate("/issues/%d/comments", pr) ||
		slices.ContainsFunc(left, func(c comment) bool { return a.cameLate("/issues/comments/%d", c.ID) })
}

// cameLate says so of a write to a path below the repository.
func (a *arena) cameLate(path string, args ...any) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	by, ok := a.tardy["/api/v1/repos/"+a.repo()+fmt.Sprintf(path, args...)]
	return ok && by.deaths < by.victim.deaths.Load()
}

// unfinished are the pull requests whose heads carry a status that still promises
// something, or that have more than one note.
func (a *arena) unfinished(all []ask) (left []string) {
	for _, r := range all {
		head := a.pr(r.pr).Head.SHA
		if s := a.status(head); strings.HasPrefix(s, "pending") && !a.cameLate("/statuses/%s", head) {
			left = append(left, fmt.Sprintf("#%d at %s: %s", r.pr, head, s))
		}
		if n := a.notes(r.pr); len(n) != 1 && !a.excused(r.pr, n) {
			left = append(left, fmt.Sprintf("#%d has %d notes:\n%s", r.pr, len(n), n.text()))
		}
	}
	return left
}

// judge looks at what is left, in git and through the API.
func (a *arena) judge(all []ask) {
	a.chaos.up.RLock()
	defer a.chaos.up.RUnlock()
	for deadline := time.Now().Add(patience); len(a.unfinished(all)) > 0; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			a.complain("not finished after all this time:\n%s", strings.Join(a.unfinished(all), "\n"))
			break
		}
	}
	for _, v := range a.victims {
		v.stop()
	}
	a.mainIsGreen()
	for _, r := range all {
		var commits []string
		if out := a.in("log", "--format=%H", "origin/main", "--", r.file); out != "" {
			commits = strings.Fields(out)
		}
		if want := map[bool]int{true: 1, false: 0}[r.ends == "Landed as"]; len(commits) != want {
			a.complain("#%d is on main %d times, want %d: %v", r.pr, len(commits), want, commits)
		}
	}
	if left := a.leases(); len(left) != 0 {
		a.complain("leases left: %v", left)
	}
	if issues := a.queueIssues(); len(issues) != 1 {
		a.complain("queue issues: %v", issues)
	}
	if refs := a.in("ls-remote", "origin", "refs/heads/mergegate/*"); refs != "" {
		a.complain("candidates left:\n%s", refs)
	}
}
