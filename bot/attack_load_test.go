package bot

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"mergegate/gate"
)

// The rows of docs/attacks.md in which there is much to do.

func TestAttack108FirstComeFirstServed(t *testing.T) {
	tell(t, func(r *rig) {
		r.start("one")
		var order []int
		for i := range 30 {
			n := r.opened(fmt.Sprint("branch", i), "main")
			order = append([]int{n}, order...) // the newest asks first
		}
		for _, n := range order {
			r.labelled(n)
			time.Sleep(2 * time.Second)
		}
		r.until("all land", 6*time.Hour, func() bool { return len(r.landings()) == len(order) })
		var got []int
		for _, e := range r.landings() {
			got = append(got, e.PR)
		}
		if !slices.Equal(got[1:], order[1:]) && !slices.Equal(got, order) {
			t.Errorf("landed in the order %v, asked for in %v", got, order)
		}
	})
}

// A hundred repositories with ten open PRs each, two of them asked for, and then two
// quiet hours: what the bot holds and asks for is bounded by what there is to do.
func TestAttack109AHundredRepositories(t *testing.T) {
	const repos, open, asked = 100, 10, 2
	tell(t, func(r *rig) {
		var names []gate.Repo
		for i := range repos {
			repo := gate.Repo{Forge: "work", Owner: "acme", Name: fmt.Sprintf("repo%03d", i)}
			r.cfg.Forges[0].Repos = append(r.cfg.Forges[0].Repos, repo.String())
			r.Sim.Repo(repo, gate.RoleAdmin, map[string]string{"README.md": "hello\n"})
			r.Person(repo, "ann", gate.RoleWrite)
			r.Person(repo, "bob", gate.RoleWrite)
			for k := range open {
				branch := fmt.Sprint("branch", k)
				_, err := r.Push(repo, r.ann, r.Tip(repo, "main"), map[string]string{branch: "x\n"}, branch)
				r.must(err)
				n, err := r.Open(repo, r.ann, branch, "main", "Add "+branch)
				r.must(err)
				if k < asked {
					r.must(r.Label(repo, n, r.bob, "merge"))
				}
			}
			names = append(names, repo)
		}
		before := heap()
		r.start("one")
		most := 0
		for end := time.Now().Add(3 * time.Hour); len(r.landings()) < repos*asked; time.Sleep(10 * time.Second) {
			most = max(most, runtime.NumGoroutine())
			if time.Now().After(end) {
				t.Fatalf("%d of %d landed in three hours", len(r.landings()), repos*asked)
			}
		}
		busy := r.Calls("one")
		time.Sleep(10 * time.Minute)
		settled := r.Calls("one")
		time.Sleep(2 * time.Hour)
		idle := float64(r.Calls("one")-settled) / repos / (2 * 60 / 5)
		grown := float64(heap()-before) / (1 << 20)
		perLanding := float64(busy) / (repos * asked)
		t.Logf("%d landings of %d PRs in %d repositories: %.1f calls each; %.1f calls per idle poll of a repository; at most %d goroutines; %.1f MiB more",
			repos*asked, repos*open, len(names), perLanding, idle, most, grown)
		if most > 20*repos {
			t.Errorf("%d goroutines for %d repositories", most, repos)
		}
		if perLanding > 150 || idle > 6 {
			t.Errorf("%.1f calls per landing, %.1f per idle poll", perLanding, idle)
		}
		if grown > 200 {
			t.Errorf("%.0f MiB more", grown)
		}
	})
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
