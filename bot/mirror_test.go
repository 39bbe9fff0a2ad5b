package bot

import (
	"mergegate/forge/forgetest"
	"mergegate/gate/lease"
)

// The simulated mirror stands in for the real one, the lease in a ref too.
var (
	_ Mirror     = (*forgetest.SimMirror)(nil)
	_ lease.Refs = (*forgetest.SimMirror)(nil)
)
