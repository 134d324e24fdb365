package host

import (
	"errors"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/io/disk"
)

// Check verifies a data directory that no server uses, and changes nothing in it. Like engine.Check, it returns what it
// has found where it cannot go on.
func Check(dir string) (*engine.CheckReport, error) {
	d, err := disk.OpenReadOnly(dir)
	if err != nil {
		return &engine.CheckReport{}, err
	}
	report, err := engine.Check(d, engine.DefaultConfig())
	return report, errors.Join(err, d.Close())
}

// PlanRepair says what can be set right in a data directory that no server uses, and changes nothing.
func PlanRepair(dir string) (*engine.RepairPlan, error) {
	d, err := disk.OpenReadOnly(dir)
	if err != nil {
		return nil, err
	}
	plan, err := engine.PlanRepair(d, engine.DefaultConfig())
	return plan, errors.Join(err, d.Close())
}

// Repair plans, and carries the plan out.
func Repair(dir string) error {
	d, err := disk.Open(dir)
	if err != nil {
		return err
	}
	plan, err := engine.PlanRepair(d, engine.DefaultConfig())
	if err == nil {
		err = plan.Apply(d)
	}
	return errors.Join(err, d.Close())
}
