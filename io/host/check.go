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
