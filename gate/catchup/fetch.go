package catchup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mergegate/gate"
	"mergegate/internal/git"
)

// Fetch fetches exactly these refs (full names, such as refs/heads/main or
// refs/pull/7/head) and stores each under its own name, also when it was
// force-pushed. ErrNoRef, naming them, when the remote lacks some; then none
// may have been stored. *RefusedError when the remote offers what must not be
// taken. It may be repeated and called concurrently.
func (m *Mirror) Fetch(ctx context.Context, want ...string) error {
	for _, ref := range want {
		if err := checkRef(ref); err != nil {
			return err
		}
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.prepare(ctx); err != nil {
		return err
	}
	var specs []string
	for _, ref := range want {
		specs = append(specs, "+"+ref+":"+ref)
	}
	err = m.fetch(ctx, specs...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if refused, ok := errors.AsType[*git.Refused](err); ok {
		return &RefusedError{Text: refused.Why}
	}
	refs, rerr := m.RemoteRefs(ctx, want...)
	if rerr != nil {
		return fmt.Errorf("%w: %w", ErrTransport, err)
	}
	var missing []string
	for _, ref := range want {
		if refs[ref] == "" {
			missing = append(missing, ref)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %q", ErrNoRef, missing)
	}
	// The remote is well, so the trouble is here.
	m.suspect.Store(true)
	if rerr := m.repair(ctx); rerr != nil {
		return rerr
	}
	if rerr := m.clearConflicting(ctx, want); rerr != nil {
		return rerr
	}
	return m.fetch(ctx, specs...)
}

// FetchCommit fetches a commit by its id, for commits that no ref names any
// more. It does nothing if the mirror has it. ErrMissing when the remote
// answers but does not give it; *RefusedError as Fetch.
func (m *Mirror) FetchCommit(ctx context.Context, c gate.SHA) error {
	if !c.Valid() {
		return fmt.Errorf("fetch: %q is not a full commit id", c)
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.prepare(ctx); err != nil || m.Have(ctx, c) {
		return err
	}
	err = m.fetch(ctx, string(c))
	if err == nil || ctx.Err() != nil {
		return err
	}
	if refused, ok := errors.AsType[*git.Refused](err); ok {
		return &RefusedError{Text: refused.Why}
	}
	if _, rerr := m.RemoteRefs(ctx, "HEAD"); rerr != nil {
		return fmt.Errorf("%w: %w", ErrTransport, err)
	}
	return fmt.Errorf("%w: the remote does not give %s: %w", ErrMissing, c, err)
}

// prepare makes the mirror fit to be fetched into. The caller holds the lock.
func (m *Mirror) prepare(ctx context.Context) error {
	if err := m.repair(ctx); err != nil {
		return err
	}
	if err := m.removeLocks(); err != nil {
		return err
	}
	// Packs and candidates pile up. git knows when it is worth tidying, and
	// keeps for two weeks what no ref names.
	_, err := m.dir.Run(ctx, "", "gc", "--auto", "--quiet")
	if err != nil && ctx.Err() == nil {
		m.suspect.Store(true)
		return m.repair(ctx)
	}
	return err
}

// What a fetch may cost. A base branch brings the whole history the first time;
// a change only what it adds.
var (
	wholeHistory = git.Limits{Time: time.Hour, Size: 32 << 30}
	oneChange    = git.Limits{Time: 10 * time.Minute, Size: 1 << 30}
)

// fetch is one git fetch. What must not be taken is a *git.Refused.
func (m *Mirror) fetch(ctx context.Context, specs ...string) error {
	d, err := m.reach(ctx, m.remote)
	if err != nil {
		return err
	}
	limits := m.limits
	if limits == (git.Limits{}) {
		if limits = oneChange; !m.filled(ctx) {
			limits = wholeHistory
		}
	}
	return d.Fetch(ctx, limits, specs...)
}

// filled says whether a base branch is here, so that a change brings only itself.
func (m *Mirror) filled(ctx context.Context) bool {
	out, err := m.dir.Run(ctx, "", "for-each-ref", "--count=1", "--format=%(refname)", "--", "refs/heads/")
	return err == nil && out != ""
}

// clearConflicting deletes local refs that stand in the way of the wanted: once
// a branch "a" is gone, the remote can have a branch "a/b", and a file cannot be
// a directory.
func (m *Mirror) clearConflicting(ctx context.Context, want []string) error {
	out, err := m.dir.Run(ctx, "", "for-each-ref", "--format=%(refname)")
	if err != nil {
		return m.trouble(ctx, err)
	}
	var in strings.Builder
	for line := range strings.Lines(out) {
		have := strings.TrimSuffix(line, "\n")
		for _, ref := range want {
			if strings.HasPrefix(ref, have+"/") || strings.HasPrefix(have, ref+"/") {
				fmt.Fprintf(&in, "delete %s\x00\x00", have)
				break
			}
		}
	}
	_, err = m.dir.Run(ctx, in.String(), "update-ref", "-z", "--stdin")
	return err
}

// RemoteRefs asks the remote where refs (full names, or HEAD) are, without
// fetching. Refs that do not exist are not in the answer.
func (m *Mirror) RemoteRefs(ctx context.Context, refs ...string) (map[string]gate.SHA, error) {
	return m.remoteRefs(ctx, m.remote, refs...)
}

func (m *Mirror) remoteRefs(ctx context.Context, r Remote, refs ...string) (map[string]gate.SHA, error) {
	for _, ref := range refs {
		if ref == "HEAD" {
			continue
		}
		if err := checkRef(ref); err != nil {
			return nil, err
		}
	}
	d, err := m.reach(ctx, r)
	if err != nil {
		return nil, err
	}
	out, err := d.Run(ctx, "", append([]string{"ls-remote", "--quiet", "--end-of-options", r.URL}, refs...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTransport, err)
	}
	at := make(map[string]gate.SHA)
	for line := range strings.Lines(out) {
		id, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		for _, ref := range refs { // ls-remote also matches the ends of names
			if name == ref {
				at[ref] = gate.SHA(id)
			}
		}
	}
	return at, nil
}

// reach is the mirror's directory with the right to talk to r.
func (m *Mirror) reach(ctx context.Context, r Remote) (git.Dir, error) {
	auth := ""
	if r.Auth != nil {
		var err error
		if auth, err = r.Auth(ctx); err != nil {
			return git.Dir{}, fmt.Errorf("%w: no token: %w", ErrTransport, err)
		}
	}
	return m.dir.Remote(r.URL, auth)
}

// checkRef refuses what git check-ref-format refuses, and names outside refs/.
func checkRef(ref string) error {
	bad := !strings.HasPrefix(ref, "refs/") ||
		strings.HasSuffix(ref, ".") ||
		strings.Contains(ref, "..") || strings.Contains(ref, "@{") ||
		strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) })
	for part := range strings.SplitSeq(ref, "/") {
		bad = bad || part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return fmt.Errorf("%q is not a full ref name that git allows", ref)
	}
	return nil
}
