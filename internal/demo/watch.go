package demo

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// glance is the pause between two looks at the forge.
const glance = 300 * time.Millisecond

// watch prints a line for everything that mergegate shows on the forge. It polls,
// but misses no status: the forge keeps them all, for every head it has seen.
type watch struct {
	world
	page  page
	began time.Time
	heads map[int][]string // by PR
	told  map[string]int   // by head: how many of its statuses
	ended map[int]bool     // by PR: its end was told
}

func newWatch(w world, p page, began time.Time) *watch {
	return &watch{world: w, page: p, began: began, heads: map[int][]string{}, told: map[string]int{}, ended: map[int]bool{}}
}

// event is a status that appeared on a pull request. The forge numbers statuses
// for each commit, and knows their time to the second.
type event struct {
	status
	pr, head int // head counts the pull request's heads
}

// compare orders events as they happened, as far as that can be known.
func (e event) compare(f event) int {
	return cmp.Or(e.At.Compare(f.At), e.pr-f.pr, e.head-f.head, cmp.Compare(e.ID, f.ID))
}

// follow prints until every pull request of the cast has ended and the queue is
// at rest.
func (t *watch) follow(ctx context.Context, cast map[int]change) error {
	for {
		if err := t.look(ctx, cast); err != nil {
			return err
		}
		leases, err := t.leases(ctx)
		if err != nil {
			return err
		}
		running := func(pr int) bool { return !t.ended[pr] }
		if leases == 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(cast)), running) {
			return nil
		}
		select {
		case <-time.After(glance):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// look reads the forge once and prints what is new.
func (t *watch) look(ctx context.Context, cast map[int]change) error {
	pulls, err := t.pulls(ctx)
	if err != nil {
		return err
	}
	var news []event
	over := map[int]bool{} // the last status is final
	for _, p := range pulls {
		if t.ended[p.Number] {
			continue
		}
		if !slices.Contains(t.heads[p.Number], p.Head.SHA) {
			t.heads[p.Number] = append(t.heads[p.Number], p.Head.SHA)
		}
		for i, head := range t.heads[p.Number] {
			all, err := t.statuses(ctx, head)
			if err != nil {
				return err
			}
			for _, s := range all[t.told[head]:] {
				news = append(news, event{s, p.Number, i})
			}
			t.told[head] = len(all)
			over[p.Number] = len(all) > 0 && all[len(all)-1].final()
		}
	}
	slices.SortFunc(news, event.compare)
	for _, e := range news {
		style := map[string]string{"success": good, "failure": bad}[e.state()]
		t.print(style, e.pr, e.state(), e.Text)
	}
	for _, p := range pulls {
		if over[p.Number] && (p.merged() || !p.requested()) {
			if err := t.end(ctx, p, cast[p.Number]); err != nil {
				return err
			}
		}
	}
	return nil
}

// print prints a line of the timeline.
func (t *watch) print(style string, pr int, kind, text string) {
	t.page.cut(style, "%6.1fs  #%d  %-8s %s", time.Since(t.began).Seconds(), pr, kind, text)
}

// end quotes the comment of a pull request that has ended, as soon as there is one.
func (t *watch) end(ctx context.Context, p pull, c change) error {
	texts, err := t.comments(ctx, p.Number)
	if err != nil || len(texts) == 0 {
		return err
	}
	t.ended[p.Number] = true
	lines := strings.Split(texts[0], "\n")
	for _, says := range c.says {
		if i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, says) }); i >= 0 {
			t.print(dim, p.Number, "comment", lines[i])
		}
	}
	if c.lesson != "" && p.merged() == (c.end == landed) {
		t.page.line(bold, "         %s", c.lesson)
	}
	return nil
}
