package catchup

import (
	"context"
	"errors"
	"fmt"

	"mergegate/gate"
)

// Advance fast-forwards a branch of the mirror's remote from one commit to a
// descendant of it, by compare-and-swap. It is for remotes without a forge,
// where nobody else can move the branch for us.
//
// A branch that has been at to since, also one that has gone on from there, is
// success, so Advance may be repeated after a lost answer. ErrMoved when the
// branch is elsewhere and was never at to as far as its history tells;
// *DeniedError when the remote declines. After any other error it is unknown
// whether the branch moved.
func (m *Mirror) Advance(ctx context.Context, branch string, from, to gate.SHA) error {
	ahead, err := m.IsAncestor(ctx, from, to)
	if err != nil {
		return fmt.Errorf("advance %q: %w", branch, err)
	}
	if !ahead || from == to {
		return fmt.Errorf("advance %q: %s does not come after %s", branch, to.Short(), from.Short())
	}
	ref := "refs/heads/" + branch
	err = m.push(ctx, m.remote, ref, from, to)
	if !errors.Is(err, ErrMoved) {
		return err
	}
	if ferr := m.Fetch(ctx, ref); ferr != nil {
		return errors.Join(err, ferr)
	}
	tip, terr := m.Ref(ctx, ref)
	if terr != nil {
		return errors.Join(err, terr)
	}
	if there, aerr := m.IsAncestor(ctx, to, tip); aerr != nil || there {
		return aerr
	}
	return err
}
