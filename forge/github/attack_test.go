package github

import (
	"testing"

	"mergegate/forge/forgetest"
)

// The lease may stand behind more comments than a page holds: 100 on GitHub.
func TestAttack06LeaseBehindManyComments(t *testing.T) {
	forgetest.ManyComments(t, newWorld(t, true), 120)
}
