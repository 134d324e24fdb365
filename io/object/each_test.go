package object

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/minio/minio-go/v7"
)

// The library ends a list without a word when its time is over between two pages: the rest would be missing from it.
func TestAListWhoseTimeIsOverBetweenPagesIsNone(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch query := r.URL.Query(); {
		case query.Has("list-type"):
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>`+
				`<Contents><Key>a</Key></Contents></ListBucketResult>`)
		case query.Has("object-lock"):
			fmt.Fprint(w, `<ObjectLockConfiguration/>`)
		default:
			fmt.Fprint(w, `<VersioningConfiguration/>`)
		}
	}))
	defer s.Close()
	const timeout = 200 * time.Millisecond
	store, err := Open(t.Context(), "s3://bucket?insecure=1&endpoint="+strings.TrimPrefix(s.URL, "http://"), Options{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	visited := 0
	err = store.(*bucket).each(minio.ListObjectsOptions{Recursive: true}, func(minio.ObjectInfo) error {
		visited++
		over, cancel := context.WithTimeout(t.Context(), 2*timeout)
		defer cancel()
		<-over.Done()
		return nil
	})
	if !errors.Is(err, seg.ErrUnavailable) || visited != 1 {
		t.Errorf("%d visited, %v", visited, err)
	}
}
