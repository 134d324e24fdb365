package object_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/io/object"
)

const (
	testKey    = "TESTACCESSKEYID"
	testSecret = "a-secret-that-nobody-may-see"
)

// fake is a server of the test's own, which says of its bucket that it is plain, and has the rest answered.
type fake struct {
	*httptest.Server
	answer   http.HandlerFunc
	requests atomic.Int64 // that were answered
}

func serve(t *testing.T, answer http.HandlerFunc) *fake {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", testKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	f := &fake{answer: answer}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch query := r.URL.Query(); {
		case query.Has("versioning"):
			fmt.Fprint(w, `<VersioningConfiguration/>`)
		case query.Has("object-lock"):
			refuse(w, http.StatusNotFound, "ObjectLockConfigurationNotFoundError")
		default:
			f.requests.Add(1)
			answer(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

// url names a bucket at the server.
func (f *fake) url() string {
	return "s3://bucket/some/prefix?insecure=1&path-style=1&endpoint=" + strings.TrimPrefix(f.URL, "http://")
}

// refuse answers with an error as S3 writes it.
func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<Error><Code>%s</Code><Message>%s: %s</Message></Error>`, code, code, testSecret)
}

// all asks for everything that a store does, and checks each error.
func all(t *testing.T, store seg.Objects, check func(did string, err error)) {
	t.Helper()
	_, got := store.Get("a")
	_, sized := store.Stat("a")
	_, listed := store.List("")
	check("put", store.Put("a", []byte("x")))
	check("get", got)
	check("stat", sized)
	check("list", listed)
	check("remove", store.Remove("a"))
}

func TestWhatPassesIsUnavailable(t *testing.T) {
	for code, status := range map[string]int{"InternalError": 500, "SlowDown": 503, "Anything": 502, "TooManyRequests": 429, "RequestTimeout": 400, "OperationAborted": 409} {
		t.Run(code, func(t *testing.T) {
			f := serve(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, status, code) })
			store := open(t, f.url(), object.Options{})
			all(t, store, func(did string, err error) {
				if status == 400 && did == "stat" { // an answer to HEAD has no code
					return
				}
				if !errors.Is(err, seg.ErrUnavailable) || errors.Is(err, seg.ErrNotExist) {
					t.Errorf("%s: %v", did, err)
				}
			})
			if n := f.requests.Load(); n != 5 {
				t.Errorf("%d requests for five calls: to try again is the caller's business", n)
			}
		})
	}
}

func TestAServerThatIsGoneIsUnavailable(t *testing.T) {
	f := serve(t, nil)
	store := open(t, f.url(), object.Options{})
	f.Close()
	all(t, store, func(did string, err error) {
		if !errors.Is(err, seg.ErrUnavailable) {
			t.Errorf("%s: %v", did, err)
		}
	})
	if _, err := object.Open(t.Context(), f.url(), object.Options{}); !errors.Is(err, seg.ErrUnavailable) {
		t.Errorf("open: %v", err)
	}
}

func TestAServerThatDoesNotAnswerIsUnavailable(t *testing.T) {
	over := make(chan struct{})
	f := serve(t, func(w http.ResponseWriter, r *http.Request) { <-over })
	defer close(over)
	all(t, open(t, f.url(), object.Options{Timeout: 50 * time.Millisecond}), func(did string, err error) {
		if !errors.Is(err, seg.ErrUnavailable) {
			t.Errorf("%s: %v", did, err)
		}
	})
}

func TestAnObjectThatIsCutIsUnavailable(t *testing.T) {
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		fmt.Fprint(w, "half")
	})
	if data, err := open(t, f.url(), object.Options{}).Get("a"); !errors.Is(err, seg.ErrUnavailable) || data != nil {
		t.Errorf("%q, %v", data, err)
	}
}

// A list that breaks off must not look like a short one: what is not listed would be sent again, or removed.
func TestAListThatBreaksOffIsNone(t *testing.T) {
	over := make(chan struct{})
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("continuation-token") {
			<-over
		}
		fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>`+
			`<Contents><Key>some/prefix/a</Key><Size>1</Size></Contents></ListBucketResult>`)
	})
	defer close(over)
	if names, err := open(t, f.url(), object.Options{Timeout: 100 * time.Millisecond}).List(""); !errors.Is(err, seg.ErrUnavailable) || names != nil {
		t.Errorf("%q, %v", names, err)
	}
}

func TestTheEndOfTheProcessEndsRequests(t *testing.T) {
	over, asked := make(chan struct{}), make(chan struct{})
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-over
	})
	defer close(over)
	ctx, cancel := context.WithCancel(context.Background())
	store, err := object.Open(ctx, f.url(), object.Options{})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-asked
		cancel()
	}()
	defer store.Close()
	if names, err := store.List(""); !errors.Is(err, seg.ErrCrashed) || names != nil {
		t.Errorf("list: %q, %v", names, err)
	}
	ended(t, store)
}

func TestWhatStaysSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		status     int
		code, want string
	}{
		{403, "AccessDenied", "have no right to s3:"}, {404, "NoSuchBucket", "make it"}, {403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"},
		{403, "SignatureDoesNotMatch", "AWS_ACCESS_KEY_ID"}, {403, "RequestTimeTooSkewed", "clock"}, {301, "PermanentRedirect", "region"},
		{501, "NotImplemented", "s3:"}, {400, "Odd", "Odd"}, {400, "<b>not a code</b>", "an error"},
	} {
		t.Run(c.code, func(t *testing.T) {
			f := serve(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, c.status, c.code) })
			store := open(t, f.url(), object.Options{})
			all(t, store, func(did string, err error) {
				switch {
				case did == "stat": // an answer to HEAD has no code
				case err == nil, errors.Is(err, seg.ErrUnavailable), errors.Is(err, seg.ErrNotExist), !strings.Contains(err.Error(), c.want):
					t.Errorf("%s: %v", did, err)
				}
				if err != nil && strings.Contains(err.Error(), testSecret) {
					t.Errorf("%s repeats what the server says: %v", did, err)
				}
			})
		})
	}
}

func TestOthersObjectsArePassedOver(t *testing.T) {
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("prefix"); got != "some/prefix/" {
			t.Errorf("prefix %q", got)
		}
		fmt.Fprint(w, `<ListBucketResult>`)
		for _, key := range []string{"b", "folder/", "README", "a", "b"} {
			fmt.Fprintf(w, `<Contents><Key>some/prefix/%s</Key></Contents>`, key)
		}
		fmt.Fprint(w, `</ListBucketResult>`)
	})
	if got := list(t, open(t, f.url(), object.Options{}), ""); strings.Join(got, " ") != "a b" {
		t.Errorf("%q", got)
	}
}

func TestABucketThatDoesNotSayWhatItIsIsRefused(t *testing.T) {
	for _, what := range []string{"versioning", "object-lock"} {
		t.Setenv("AWS_ACCESS_KEY_ID", testKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has(what) {
				refuse(w, http.StatusForbidden, "AccessDenied")
				return
			}
			fmt.Fprint(w, `<VersioningConfiguration/>`)
		}))
		defer s.Close()
		_, err := object.Open(t.Context(), "s3://bucket?insecure=1&endpoint="+url.QueryEscape(s.URL), object.Options{})
		if err == nil || errors.Is(err, seg.ErrUnavailable) || !strings.Contains(err.Error(), "s3:GetBucket") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestCredentialsAreNotPartOfTheURL(t *testing.T) {
	for _, where := range []string{"s3://" + testKey + ":" + testSecret + "@bucket/prefix", "s3://bucket/%zz" + testSecret, "s3://bucket/p?secret=" + testSecret} {
		_, err := object.Open(t.Context(), where, object.Options{})
		if err == nil || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%v", err)
		}
	}
}

func TestWithoutCredentialsNothingIsAsked(t *testing.T) {
	f := serve(t, nil)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"} {
		t.Setenv(name, "")
	}
	for _, name := range []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"} {
		t.Setenv(name, t.TempDir()+"/none")
	}
	if _, err := object.Open(t.Context(), f.url(), object.Options{}); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("%v", err)
	}
}

func TestURLsOfBucketsAreChecked(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", testKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	for where, want := range map[string]string{
		"s3:///prefix": "form", "s3://b/a//b": "form", "s3://b/../x": "form", "s3://b/p/%2e%2e/x": "form", "s3://b/%3Fendpoint=x": "form", "s3://b?region=x/y": "region", "s3://b?region=a.example.com": "region", "s3://b/a b": "form", "s3://b/p#f": "form", "s3://b/" + strings.Repeat("p", 401): "form",
		"s3://b?what=1": "what", "s3://b?region=a&region=b": "2 times", "s3://b?path-style=0": "path-style", "s3://b?lock=forever": "governance",
		"s3://b?endpoint=": "host", "s3://b?endpoint=host/path": "host", "s3://b?endpoint=ftp://host": "https", "s3://b?endpoint=me@host": "host",
		"s3://b?endpoint=http://127.0.0.1:1": "insecure=1", "s3://b?endpoint=https://127.0.0.1:1&insecure=1": "leave out",
		"s3://b?endpoint=example.com&insecure=1": "anywhere", "s3://b?insecure=1": "anywhere", "s3://b?endpoint=127.0.0.1:1&insecure=yes": "insecure",
	} {
		_, err := object.Open(t.Context(), where, object.Options{})
		if err == nil || errors.Is(err, seg.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", where, err)
		}
	}
}

func TestServersWithoutTLSAreToldApart(t *testing.T) {
	f := serve(t, nil)
	_, err := object.Open(t.Context(), strings.Replace(f.url(), "insecure=1&", "", 1), object.Options{})
	if err == nil || errors.Is(err, seg.ErrUnavailable) || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("plain: %v", err)
	}
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	_, err = object.Open(t.Context(), "s3://bucket?endpoint="+strings.TrimPrefix(s.URL, "https://"), object.Options{})
	if err == nil || errors.Is(err, seg.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
}
