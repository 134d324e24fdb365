package engine

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestStoragePageNamesTheEngineNumbers(t *testing.T) {
	text, err := os.ReadFile("../docs/STORAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(text)), " ")
	for _, s := range []string{
		fmt.Sprintf("An index entry covers at most %d bytes of log", entrySpan),
		fmt.Sprintf("in %d parts, each when the log has grown by half as much", preparePieces),
		fmt.Sprintf("%d sound; %d a hole may hide entries of its own; %d a hole does", sound, doubtful, holed),
	} {
		if !strings.Contains(page, s) {
			t.Errorf("docs/STORAGE.md does not say %q", s)
		}
	}
	if prepareRetry != Second {
		t.Error("docs/STORAGE.md says that the making of a segment is tried again every second")
	}
}
