package host

const (
	// manyFiles stands for no limit.
	manyFiles = 1 << 30
	// ownFiles is how many files the server needs for itself: reads from disk, the log, jobs, listeners, scrapes.
	ownFiles = 160
)

// connections returns how many connections there may be where so many files may be open. Without files left over, the
// log could not go on to its next segment, and whoever opens connections would stop the server.
func connections(most, files int) int { return min(most, max(files-ownFiles, files/2)) }
