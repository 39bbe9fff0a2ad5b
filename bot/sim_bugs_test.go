package bot_test

import (
	"mergegate/bot"
	"mergegate/forge"
)

// plant is a bug put between the production bot and its world, and the judge
// that has to find it.
type plant struct {
	name, judge string
	world       func(w *world)
	forge       func(w *world, r *life, f forge.Forge) forge.Forge
	mirror      func(w *world, r *life, m bot.Mirror) bot.Mirror
	runner      func(w *world, x bot.Runner) bot.Runner
}

func (p plant) wrapForge(w *world, r *life, f forge.Forge) forge.Forge {
	if p.forge == nil {
		return f
	}
	return p.forge(w, r, f)
}

func (p plant) wrapMirror(w *world, r *life, m bot.Mirror) bot.Mirror {
	if p.mirror == nil {
		return m
	}
	return p.mirror(w, r, m)
}

func (p plant) wrapRunner(w *world, x bot.Runner) bot.Runner {
	if p.runner == nil {
		return x
	}
	return p.runner(w, x)
}
