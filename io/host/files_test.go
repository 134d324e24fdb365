package host

import "testing"

func TestConnectionsLeaveFilesToTheServer(t *testing.T) {
	for _, c := range []struct {
		name              string
		most, files, want int
	}{
		{"plenty", 20_000, manyFiles, 20_000},
		{"the usual limit of a shell", 20_000, 1024, 864},
		{"few", 20_000, 200, 100},
		{"fewer than asked for are left alone", 2, 1024, 2},
	} {
		if got := connections(c.most, c.files); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if n := openFiles(); n < 64 {
		t.Errorf("%d files may be open", n)
	}
}
