package gitea

import "mergegate/forge"

var (
	_ forge.Forge = (*Forge)(nil)
	_ forge.Admin = (*Forge)(nil)
)
