package lease

import (
	"fmt"
	"slices"
)

// own remembers which of this Store's leases may still exist: those that were
// not seen to end, and those whose post got no answer. Such a lease is replaced
// without waiting for it to become stale, and its work is inherited.
type own struct {
	chance func() uint64 // Config.Chance
	nonces []string
}

// remembered is how many are remembered; an older one just becomes stale.
const remembered = 8

func (o *own) begin() (nonce string) {
	o.nonces = append(o.nonces, fmt.Sprintf("%016x%016x", o.chance(), o.chance()))
	o.nonces = o.nonces[max(0, len(o.nonces)-remembered):]
	return o.nonces[len(o.nonces)-1]
}

func (o *own) has(r *record) bool { return r != nil && slices.Contains(o.nonces, r.Nonce) }

func (o *own) ended(nonce string) {
	o.nonces = slices.DeleteFunc(o.nonces, func(n string) bool { return n == nonce })
}
