package config

import (
	"maps"
	"slices"
	"time"

	"mergegate/gate"
)

// PolicyFile is where a repository keeps its policy, on its base branch.
const PolicyFile = ".mergegate.yaml"

// rawPolicy is a policy as it is written: the keys below "defaults" in the
// operator's file, and those of a repository's policy file.
type rawPolicy struct {
	Enabled    bool         `yaml:"enabled"`
	DryRun     bool         `yaml:"dry_run"`
	Branches   []string     `yaml:"branches"`
	Trigger    rawTrigger   `yaml:"trigger"`
	Require    rawRequire   `yaml:"require"`
	CatchUp    gate.CatchUp `yaml:"catch_up"`
	Retest     rawRetest    `yaml:"retest"`
	Land       rawLand      `yaml:"land"`
	LeaseLabel string       `yaml:"lease_label"`
	Queue      rawQueue     `yaml:"queue"`
	Retry      rawRetry     `yaml:"retry"`
	Comments   gate.Talk    `yaml:"comments"`
	Public     bool         `yaml:"public"`
}

type rawTrigger struct {
	Label    string `yaml:"label"`
	Command  bool   `yaml:"command"`
	Approval bool   `yaml:"approval"`
}

type rawRequire struct {
	Approvals   int      `yaml:"approvals"`
	BlockLabels []string `yaml:"block_labels"`
}

type rawRetest struct {
	Command      string            `yaml:"command"`
	Checks       []string          `yaml:"checks"`
	Creators     []string          `yaml:"check_creators"`
	Timeout      time.Duration     `yaml:"timeout"`
	StartTimeout time.Duration     `yaml:"start_timeout"`
	Network      bool              `yaml:"network"`
	Env          map[string]string `yaml:"env"`
}

type rawLand struct {
	Method       gate.Method `yaml:"method"`
	DeleteBranch bool        `yaml:"delete_branch"`
}

type rawQueue struct {
	Slots int `yaml:"slots"`
	Batch int `yaml:"batch"`
}

type rawRetry struct {
	Attempts int `yaml:"attempts"`
}

func defaultPolicy() gate.Policy {
	return gate.Policy{
		Enabled:  true,
		Branches: []string{"main"},
		Trigger:  gate.Trigger{Label: "merge", Command: true},
		Require:  gate.Require{Approvals: 1, BlockLabels: []string{"do-not-merge", "wip"}},
		CatchUp:  gate.CatchUpRebase,
		Retest: gate.RetestPolicy{
			Checks: []string{}, Creators: []string{}, Timeout: 30 * time.Minute, StartTimeout: 10 * time.Minute, Env: map[string]string{},
		},
		Land:     gate.LandPolicy{Method: gate.Auto},
		Queue:    gate.QueuePolicy{Slots: 1, Batch: 1},
		Attempts: 3,
		Comments: gate.TalkOutcomes,
	}
}

// ParsePolicy reads a repository's policy file. Keys it does not mention keep
// their value from defaults; lists and maps replace the default's as a whole.
// An empty file means the defaults. Errors are *Error, joined, as with Load.
// The result shares nothing with defaults.
func ParsePolicy(data []byte, defaults gate.Policy) (gate.Policy, error) {
	if len(data) > maxFile {
		return gate.Policy{}, &Error{File: PolicyFile, Problem: "is larger than 1 MiB", Mend: "Keep only mergegate's keys in it"}
	}
	raw := fromPolicy(defaults)
	doc, err := decode(PolicyFile, data, &raw)
	if err != nil {
		return gate.Policy{}, err
	}
	p := raw.policy()
	doc.checkPolicy("", p)
	if err := doc.err(); err != nil {
		return gate.Policy{}, err
	}
	return p, nil
}

// fromPolicy is p as it would be written, in memory of its own.
func fromPolicy(p gate.Policy) rawPolicy {
	r := rawPolicy{
		Enabled: p.Enabled, DryRun: p.DryRun, Branches: slices.Clone(p.Branches),
		Trigger: rawTrigger(p.Trigger), Require: rawRequire(p.Require), CatchUp: p.CatchUp,
		Retest: rawRetest(p.Retest), Land: rawLand(p.Land), LeaseLabel: p.LeaseLabel,
		Queue: rawQueue(p.Queue), Retry: rawRetry{Attempts: p.Attempts}, Comments: p.Comments, Public: p.Public,
	}
	r.Require.BlockLabels = slices.Clone(p.Require.BlockLabels)
	r.Retest.Checks, r.Retest.Creators = slices.Clone(p.Retest.Checks), slices.Clone(p.Retest.Creators)
	r.Retest.Env = maps.Clone(p.Retest.Env)
	return r
}

func (r rawPolicy) policy() gate.Policy {
	return gate.Policy{
		Enabled: r.Enabled, DryRun: r.DryRun, Branches: r.Branches,
		Trigger: gate.Trigger(r.Trigger), Require: gate.Require(r.Require), CatchUp: r.CatchUp,
		Retest: gate.RetestPolicy(r.Retest), Land: gate.LandPolicy(r.Land), LeaseLabel: r.LeaseLabel,
		Queue: gate.QueuePolicy(r.Queue), Attempts: r.Retry.Attempts, Comments: r.Comments, Public: r.Public,
	}
}
