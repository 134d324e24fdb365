// Package fault decides where a run goes wrong. Every place that can fail asks its Point; whether it fails is drawn at
// random and noted, or read from a plan. So any run can be replayed, and its faults left out one by one.
//
//	power := injector.Point("power", "write")
//	if rand, ok := power.Fire(); ok { … } // rand gives the details, the same in every replay
package fault

import (
	"sort"

	"github.com/kimberlitedb/kimberlite-go/sim/rng"
)

// Fault is one fault of a run: the kind of trouble, after effect K of kind At. Effects count from 1.
type Fault struct {
	Kind string `json:"kind"`
	At   string `json:"at"`
	K    int    `json:"k"`
}

// Injector holds the points of one run.
type Injector struct {
	source rng.Source
	rates  map[string]int // by kind and place, parts per million
	plan   map[Fault]bool // nil draws at random
	points map[string]*Point
	off    bool

	Fired []Fault // in order
	kinds map[string]*Count
}

// Count says how often a kind of fault was injected, and how often something noticed.
type Count struct{ Injected, Observed int }

// Random injects at rates by "kind@place", in parts per million.
func Random(source rng.Source, rates map[string]int) *Injector {
	return &Injector{source: source, rates: rates, points: map[string]*Point{}, kinds: map[string]*Count{}}
}

// Planned injects exactly the faults of a plan.
func Planned(source rng.Source, faults []Fault) *Injector {
	in := Random(source, nil)
	in.plan = map[Fault]bool{}
	for _, f := range faults {
		in.plan[f] = true
	}
	return in
}

// Point is a place where one kind of fault may strike.
type Point struct {
	in    *Injector
	name  string
	fault Fault // K counts
	rate  int
	rand  *rng.Rand
	count *Count
}

// Point returns the point of a kind of fault at a place.
func (in *Injector) Point(kind, at string) *Point {
	name := kind + "@" + at
	p := in.points[name]
	if p == nil {
		c := in.kinds[kind]
		if c == nil {
			c = &Count{}
			in.kinds[kind] = c
		}
		p = &Point{in: in, name: name, fault: Fault{Kind: kind, At: at}, rate: in.rates[name], rand: in.source.Stream("fault." + name), count: c}
		in.points[name] = p
	}
	return p
}

// Fire counts an effect and decides whether the fault strikes after it. The numbers that it returns are for the details.
func (p *Point) Fire() (*rng.Rand, bool) {
	if p.in.off {
		return nil, false
	}
	p.fault.K++
	if p.in.plan != nil {
		if !p.in.plan[p.fault] {
			return nil, false
		}
	} else if !p.rand.Chance(p.rate) {
		return nil, false
	}
	p.count.Injected++
	p.in.Fired = append(p.in.Fired, p.fault)
	return p.in.source.Numbered("details."+p.name, uint64(p.fault.K)), true
}

// Observe notes that something noticed a fault of a kind.
func (in *Injector) Observe(kind string) {
	if c := in.kinds[kind]; c != nil {
		c.Observed++
	}
}

// Heal ends all faults for the rest of the run.
func (in *Injector) Heal() { in.off = true }

// Healed reports whether faults have ended.
func (in *Injector) Healed() bool { return in.off }

// Kinds returns the kinds of faults that have a point, in order.
func (in *Injector) Kinds() []string {
	list := make([]string, 0, len(in.kinds))
	for kind := range in.kinds { //det:order-free: sorted below
		list = append(list, kind)
	}
	sort.Strings(list)
	return list
}

// Count returns the count of a kind.
func (in *Injector) Count(kind string) Count {
	if c := in.kinds[kind]; c != nil {
		return *c
	}
	return Count{}
}
