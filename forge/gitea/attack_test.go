package gitea

import (
	"testing"

	"mergegate/forge/forgetest"
)

// The lease may stand behind more comments than a page holds: 50 on Gitea.
func TestAttack06LeaseBehindManyComments(t *testing.T) { forgetest.ManyComments(t, newWorld(t), 60) }
