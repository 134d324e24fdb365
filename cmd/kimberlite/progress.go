package main

import (
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress is a bar on a terminal; anywhere else it is nothing. The nil *progress is nothing, too.
type progress struct {
	bars *mpb.Progress
	bar  *mpb.Bar
}

// newProgress starts a bar that is full at so many bytes.
func newProgress(w io.Writer, total int64) *progress {
	f, ok := w.(*os.File)
	if !ok || !cwriter.IsTerminal(int(f.Fd())) {
		return nil
	}
	bars := mpb.New(mpb.WithOutput(f), mpb.WithWidth(64), mpb.WithRefreshRate(100*time.Millisecond))
	bar := bars.AddBar(total,
		mpb.PrependDecorators(decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)),
	)
	return &progress{bars: bars, bar: bar}
}

// set moves the bar.
func (p *progress) set(bytes int64) {
	if p != nil {
		p.bar.SetCurrent(bytes)
	}
}

// stop leaves the bar as it is. It may be called again.
func (p *progress) stop() {
	if p != nil {
		p.bar.Abort(false) // nothing where it is full
		p.bars.Wait()
	}
}
