package seg

import (
	"errors"
	"fmt"
)

// Log writes batches and reads pieces of the log over Files, keeping the segment in use open. It is what a driver puts
// behind the engine's Write and Sync. It is not safe for concurrent use.
type Log struct {
	fs     Files
	geo    Geometry
	number uint64
	file   File // the segment used last; nil before it
}

// NewLog writes into the segments of a directory.
func NewLog(fs Files, geo Geometry) *Log { return &Log{fs: fs, geo: geo} }

// Write puts a batch at its address. It is durable only after Sync.
func (l *Log) Write(at Address, p []byte) error {
	if err := l.use(l.geo.Segment(at)); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(p, l.geo.Offset(at)); err != nil {
		return fmt.Errorf("write %s at %d: %w", SegmentName(l.number), l.geo.Offset(at), err)
	}
	return nil
}

// Sync makes what was written since the last Sync durable.
func (l *Log) Sync() error {
	if l.file == nil {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", SegmentName(l.number), err)
	}
	return nil
}

// SyncSegment makes durable what was written to a segment, by whomever.
func SyncSegment(fs Files, number uint64) error {
	f, err := fs.Open(SegmentName(number))
	if err != nil {
		return fmt.Errorf("open %s: %w", SegmentName(number), err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", SegmentName(number), err)
	}
	return nil
}

// Close releases the open segment. It does not sync.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// use turns to a segment. What was written to the one before is already synced: a batch is written only after the sync
// of the one before it.
func (l *Log) use(number uint64) error {
	if l.file != nil && l.number == number {
		return nil
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("close %s: %w", SegmentName(l.number), err)
	}
	l.file = nil
	f, err := l.fs.Open(SegmentName(number))
	if err != nil {
		return fmt.Errorf("open %s: %w", SegmentName(number), err)
	}
	l.file, l.number = f, number
	return nil
}

// Reader reads pieces of the log, keeping the segment of the last one open. It is not safe for concurrent use.
type Reader struct{ log Log }

// NewReader reads from the segments of a directory.
func NewReader(fs Files, geo Geometry) *Reader { return &Reader{Log{fs: fs, geo: geo}} }

// Read returns the bytes of an extent. Damage it cannot see; a walk through them does. Where a part of them cannot be
// read, it returns the rest, with zeros in that place, and the error.
func (r *Reader) Read(e Extent) ([]byte, error) {
	l := &r.log
	p := make([]byte, e.End-e.Start)
	if err := l.use(l.geo.Segment(e.Start)); err != nil {
		return p, err
	}
	off := l.geo.Offset(e.Start)
	if readFull(l.file, p, off) == nil {
		return p, nil
	}
	var failed error
	for n := int64(0); n < int64(len(p)); {
		end := min(l.geo.Up(off+n+1)-off, int64(len(p)))
		if err := readStubborn(l.file, p[n:end], off+n); err != nil {
			if !errors.Is(err, ErrCrashed) {
				err = fmt.Errorf("%w: %w", ErrUnreadable, err)
			}
			failed = fmt.Errorf("read %s at %d: %w", SegmentName(l.number), off+n, err)
			clear(p[n:end])
		}
		n = end
	}
	return p, failed
}

// Close releases the open segment.
func (r *Reader) Close() error { return r.log.Close() }
