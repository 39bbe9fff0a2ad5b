package catchup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"mergegate/gate"
	"mergegate/internal/git"
)

// Push asks for a branch to be moved to a candidate.
type Push struct {
	Remote    Remote // the repository that has the branch; may be a fork
	Branch    string // name, without refs/heads/
	From, To  gate.SHA
	Protected []string // base branches of the target repository: never pushed to
	SameRepo  bool     // Remote is the target repository
}

// DeniedError: the forge refuses the push, and will again until a person
// changes something (a permission, a protection, a hook).
type DeniedError struct{ Text string } // in the forge's own words, printable

func (e *DeniedError) Error() string { return "the push was declined: " + e.Text }

// Push moves the branch from p.From to p.To, or leaves it alone: ErrMoved when
// it is elsewhere, *DeniedError when the forge declines. A branch that is at
// p.To already is success, so that a push whose answer was lost may be
// repeated. After any other error it is unknown whether the branch moved.
func (m *Mirror) Push(ctx context.Context, p Push) error {
	same := p.SameRepo || repository(p.Remote.URL) == repository(m.remote.URL)
	if same && slices.Contains(p.Protected, p.Branch) {
		return fmt.Errorf("push: %q is a base branch, which only moves by landing", p.Branch)
	}
	if !p.From.Valid() || !p.To.Valid() {
		return fmt.Errorf("push %q: %w", p.Branch, errNotID)
	}
	return m.push(ctx, p.Remote, "refs/heads/"+p.Branch, p.From, p.To)
}

// repository is a URL without what may differ between two spellings of it.
func repository(url string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimRight(url, "/"), ".git"))
}

// PushRef moves a ref of mergegate's own (refs/heads/mergegate/… or
// refs/mergegate/…) in the mirror's remote. From "" means that it must not
// exist, to "" deletes it. Errors and repetition are as with Push.
func (m *Mirror) PushRef(ctx context.Context, ref string, from, to gate.SHA) error {
	if !strings.HasPrefix(ref, "refs/heads/mergegate/") && !strings.HasPrefix(ref, "refs/mergegate/") {
		return fmt.Errorf("push: %q is not a ref of mergegate's own", ref)
	}
	if from != "" && !from.Valid() || to != "" && !to.Valid() {
		return fmt.Errorf("push %q: %w", ref, errNotID)
	}
	return m.push(ctx, m.remote, ref, from, to)
}

func (m *Mirror) push(ctx context.Context, r Remote, ref string, from, to gate.SHA) error {
	if err := checkRef(ref); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if to != "" && !m.Have(ctx, to) {
		return fmt.Errorf("push %q: %w: %s", ref, ErrMissing, to)
	}
	d, err := m.reach(ctx, r)
	if err != nil {
		return err
	}
	out, err := d.Run(ctx, "", "push", "--porcelain", "--no-verify", "--signed=no",
		"--force-with-lease="+ref+":"+string(from), "--end-of-options", r.URL, string(to)+":"+ref)
	if err == nil || ctx.Err() != nil {
		return err
	}
	now, rerr := m.remoteRefs(ctx, r, ref)
	switch {
	case rerr != nil:
		return fmt.Errorf("push %q: %w: %w", ref, ErrTransport, err)
	case now[ref] == to:
		return nil
	case now[ref] != from:
		return fmt.Errorf("push: %w: %q is at %q, not at %q", ErrMoved, ref, now[ref], from)
	}
	if text, ok := declined(out, err); ok {
		return fmt.Errorf("push %q: %w", ref, &DeniedError{Text: text})
	}
	return fmt.Errorf("push %q: %w: %w", ref, ErrTransport, err)
}

// declined reads a failed push: the forge's words, and whether it refused for
// good. Trouble on the forge's side, such as a locked ref, is not a refusal.
func declined(out string, err error) (text string, ok bool) {
	stderr := err.Error()
	if e, isGit := err.(*git.Error); isGit {
		stderr = e.Stderr
	}
	var words []string
	for line := range strings.Lines(stderr) {
		if said, ok := strings.CutPrefix(line, "remote: "); ok && strings.TrimSpace(said) != "" {
			words = append(words, strings.TrimSpace(said))
		}
	}
	if strings.Contains(stderr, "The requested URL returned error: 403") {
		words, ok = append(words, "403 Forbidden"), true
	}
	for line := range strings.Lines(out) { // "!\tFROM:TO\t[remote rejected] (REASON)"
		_, reason, found := strings.Cut(strings.TrimSpace(line), "\t[remote rejected] ")
		if !found {
			continue
		}
		words, ok = append(words, strings.Trim(reason, "()")), true
		for _, trouble := range []string{"lock", "failed to update ref", "unpacker error", "internal", "failed to report"} {
			ok = ok && !strings.Contains(reason, trouble)
		}
	}
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.Join(words, "\n")), ok
}
