// Package archive knows what a checkpoint looks like in an archive: a directory or a bucket of objects that needs nothing else to be
// verified and restored.
//
//	kimberlite-archive                                        a marker
//	blobs/<2 digits>/<SHA-256 of the object>                  what never changes: blocks of records, leaves, manifests, states
//	tenants/<store>-<tenant>/<position>-<checkpoint>/index    which blobs hold what
//	tenants/<store>-<tenant>/<position>-<checkpoint>/draft    while something is being changed: which blobs it may leave
//	tenants/<store>-<tenant>/<position>-<checkpoint>/note     the signed note, written last
//
// The dump of the tables, which engine/sql knows, lies in blobs of its own; lines at the end of the index name them, in order.
//
// The note commits to the manifest, and that to every event and to the tables. The index commits to nothing: it is replaced when events that retention or
// a purge has removed leave the archive too, and their leaves stay.
package archive
