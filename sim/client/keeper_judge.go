package client

import (
	"math"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// judge compares the reply to a deed with what must be so.
func (k *Keeper) judge(l *keeperLink, d *deed) {
	switch b := d.body.(type) {
	case *wire.VerifyAudit:
		r, ok := d.reply.(*wire.VerifyAuditReply)
		e, refused := d.reply.(*wire.Error)
		if ok && r.Break.Set && k.suite.Faulty() { // a damaged disk
			k.Leave()
			return
		}
		k.must(check.Audit, ok && !r.Break.Set || refused && e.Code == wire.RateLimited, "the audit stream is %+v", d.reply)
	case *wire.ConfirmClock:
		_, ok := d.reply.(*wire.ConfirmClockReply)
		e, refused := d.reply.(*wire.Error)
		k.must(check.Contract, ok || refused && e.Code == wire.InvalidRequest, "confirming %d: %+v", b.Wall, d.reply)
	case *wire.CreateStream:
		k.judgeCreate(d, b)
	case *wire.StreamInfo:
		if k.there(d, true) {
			k.described(d.x, &d.reply.(*wire.StreamInfoReply).Info, d.to)
		}
	case *wire.AppendEvents:
		if d.x == nil {
			e, ok := d.reply.(*wire.Error)
			k.must(check.Audit, ok && e.Code == wire.PermissionDenied, "an append to the audit stream: %+v", d.reply)
		} else if k.there(d, false) {
			k.judgeAppend(d, b)
		}
	case *wire.ReadEvents:
		if d.x == nil {
			if r, ok := d.reply.(*wire.ReadEventsReply); k.must(check.Audit, ok, "reading the audit stream: %+v", d.reply) {
				k.chain(r)
			}
		} else if k.there(d, false) {
			k.judgeRead(l, d, b)
		}
	default:
		k.judgeAct(d)
	}
}

// purgeable reports whether the purge date of a stream is reached at a time.
func (x *kept) purgeable(at wire.Time) bool {
	return x.purged || x.deleted && len(x.holds) == 0 && x.purge <= at
}

// there checks that a request about a stream is refused where the stream is purged, or deleted unless that does not
// matter. It reports whether there is more to judge.
func (k *Keeper) there(d *deed, whileDeleted bool) bool {
	x := d.x
	e, refused := d.reply.(*wire.Error)
	switch {
	case refused && e.Code == wire.StreamNotFound:
		if k.must(check.Deleted, x.purgeable(d.to), "%s, stream %d: not found before its purge date %d, at %d at the latest", x.name, x.id, x.purge, d.to) {
			k.gone(x)
		}
		return false
	case x.purged || x.purgeable(d.from) && !k.suite.Faulty(): // a full disk puts a purge off
		k.must(check.Deleted, false, "%s, stream %d: is there at %d, purge date %d: %+v", x.name, x.id, d.from, x.purge, d.reply)
		return false
	case x.deleted && !whileDeleted:
		k.must(check.Deleted, refused && e.Code == wire.StreamDeleted, "%s, stream %d is deleted: %T to %+v", x.name, x.id, d.body, d.reply)
		return false
	case refused && e.Code == wire.StreamDeleted:
		k.must(check.Deleted, false, "%s, stream %d is not deleted: %T to %s", x.name, x.id, d.body, e.Message)
		return false
	}
	k.suite.Saw(check.Deleted, x.deleted)
	return true
}

func (k *Keeper) judgeCreate(d *deed, b *wire.CreateStream) {
	y := k.named(b.Name)
	switch r := d.reply.(type) {
	case *wire.CreateStreamReply:
		if k.must(check.Deleted, y == nil || y.purgeable(d.to), "%s was made again while stream %d has the name", b.Name, idOf(y)) {
			k.created(d.x, y, r.Stream)
		}
	case *wire.Error:
		k.must(check.Deleted, r.Code == wire.StreamAlreadyExists && y != nil && (!y.purgeable(d.from) || k.suite.Faulty()),
			"%s was refused while stream %d has the name, purge date %d, at %d: %s", b.Name, idOf(y), purgeOf(y), d.from, r.Message)
	}
}

// named returns the stream that has a name, nil where none has.
func (k *Keeper) named(name string) (x *kept) {
	for _, y := range k.streams {
		if y.name == name && !y.purged {
			x = y
		}
	}
	return x
}

func idOf(x *kept) wire.StreamID {
	if x == nil {
		return 0
	}
	return x.id
}

func purgeOf(x *kept) wire.Time {
	if x == nil {
		return 0
	}
	return x.purge
}

// created takes up a new stream, in whose place another one may have been.
func (k *Keeper) created(x, before *kept, id wire.StreamID) {
	if before != nil {
		k.gone(before)
	}
	for _, z := range k.streams {
		k.must(check.Deleted, z.id != id, "the id %d of %s was given again", id, z.name)
	}
	x.id = id
	k.streams = append(k.streams, x)
	k.tell("stream.create", x)
}

// judgeAct compares the reply to an act on a stream.
func (k *Keeper) judgeAct(d *deed) {
	x := d.x
	_, retain := d.body.(*wire.SetRetention)
	if !k.there(d, !retain) {
		return
	}
	e, _ := d.reply.(*wire.Error)
	code := wire.Unknown
	if e != nil {
		code = e.Code
	}
	k.most(x, d.to)
	switch b := d.body.(type) {
	case *wire.DeleteStream:
		if !x.deleted && len(x.holds) > 0 {
			k.must(check.Deleted, code == wire.Held, "%s is held by %v and was deleted: %+v", x.name, x.holds, d.reply)
			return
		}
		r, ok := d.reply.(*wire.DeleteStreamReply)
		span := wire.Time(max(b.RetentionOverride.Or(x.days.Or(30)), x.least)) * k.day()
		fits := ok && r.Deleted && (x.deleted && r.PurgeDate == x.purge || !x.deleted && r.PurgeDate >= d.from+span && r.PurgeDate <= d.to+span)
		if !k.must(check.Deleted, fits, "%s, deleted %t until %d, deleted between %d and %d: %+v", x.name, x.deleted, x.purge, d.from, d.to, d.reply) || x.deleted {
			return
		}
		k.happened(x, b, r.PurgeDate)
	case *wire.UndeleteStream:
		r, ok := d.reply.(*wire.UndeleteStreamReply)
		if k.must(check.Deleted, ok && r.Restored == x.deleted, "%s, deleted %t, undeleted: %+v", x.name, x.deleted, d.reply) && x.deleted {
			k.happened(x, b, 0)
		}
	case *wire.SetRetention:
		least := b.MinDays.Or(x.least)
		bad := b.Days.Set && b.Days.Value < least
		if !k.must(check.Contract, bad == (code == wire.InvalidRequest), "%s: %+v with at least %d: %+v", x.name, b, x.least, d.reply) || bad {
			return
		}
		if b.Days != x.days || least != x.least {
			k.happened(x, b, 0)
		}
	case *wire.SetHold:
		_, ok := d.reply.(*wire.SetHoldReply)
		if k.must(check.Contract, ok, "%s: hold: %+v", x.name, d.reply) && !slices.Contains(x.holds, b.Name) {
			k.happened(x, b, 0)
		}
	case *wire.ReleaseHold:
		held := slices.Contains(x.holds, b.Name)
		if k.must(check.Contract, held == (code != wire.InvalidRequest), "%s, held by %v, released from %s: %+v", x.name, x.holds, b.Name, d.reply) && held {
			k.happened(x, b, 0)
		}
	}
}

// happened takes up an act that has changed a stream.
func (k *Keeper) happened(x *kept, act wire.RequestBody, purge wire.Time) {
	switch b := act.(type) {
	case *wire.DeleteStream:
		x.deleted, x.purge = true, purge
		k.tell("stream.delete", x)
	case *wire.UndeleteStream:
		x.deleted = false
		k.tell("stream.undelete", x)
	case *wire.SetRetention:
		x.days, x.least = b.Days, b.MinDays.Or(x.least)
		k.tell("stream.retain", x)
	case *wire.SetHold:
		x.holds = append(x.holds, b.Name)
		k.tell("hold.set", x)
	case *wire.ReleaseHold:
		x.holds = slices.DeleteFunc(x.holds, func(h string) bool { return h == b.Name })
		k.tell("hold.release", x)
	}
}

// expired returns the first offset of a stream from one on that has not expired at a time.
func (k *Keeper) expired(x *kept, from int, at wire.Time) int {
	if !x.days.Set || x.deleted || len(x.holds) > 0 {
		return from
	}
	upto := at - at%wire.Time(k.config.Grain) - wire.Time(x.days.Value)*k.day()
	if at == math.MaxInt64 {
		upto = at
	}
	for from < len(x.events) && x.events[from].Timestamp <= upto {
		from++
	}
	return from
}

// most notes how much of a stream may have been cut off by a time, before its retention or holds change.
func (k *Keeper) most(x *kept, at wire.Time) { x.cut = k.expired(x, max(x.oldest, x.cut), at) }

// seen checks an oldest offset that was told between two times.
func (k *Keeper) seen(x *kept, oldest wire.Offset, low int, at wire.Time) bool {
	high := k.expired(x, max(x.oldest, x.cut), at)
	ok := k.must(check.Oldest, int(oldest) >= x.oldest, "%s, stream %d: the oldest offset went from %d back to %d", x.name, x.id, x.oldest, oldest) &&
		k.must(check.Early, int(oldest) <= high, "%s, stream %d: the oldest offset is %d at %d at the latest, when no more than %d had expired", x.name, x.id, oldest, at, high) &&
		k.must(check.Expired, int(oldest) >= low, "%s, stream %d: the oldest offset is %d, when at least %d had expired", x.name, x.id, oldest, low)
	x.oldest = max(x.oldest, int(oldest))
	return ok
}

func (k *Keeper) judgeRead(l *keeperLink, d *deed, b *wire.ReadEvents) {
	x := d.x
	low := k.expired(x, x.oldest, d.from)
	r, ok := d.reply.(*wire.ReadEventsReply)
	if !ok {
		e := d.reply.(*wire.Error)
		below := l.plain && !b.Backward && int(b.FromOffset) < k.expired(x, max(x.oldest, x.cut), d.to)
		k.must(check.Expired, e.Code == wire.InvalidOffset && below, "%s: %+v refused with %s: %s", x.name, b, e.Code, e.Message)
		return
	}
	// A full disk puts the move of the oldest offset off. What has expired is not shown even so.
	put := k.suite.Faulty() && int(r.OldestOffset) < low && (int(b.FromOffset) >= low || b.MaxBytes == 0 || b.MaxEvents == wire.Some(uint32(0)))
	if put {
		low = 0
	}
	if !k.seen(x, r.OldestOffset, low, d.to) {
		return
	}
	want := model.Read(x.events, x.oldest, b)
	var got int
	for e := range r.Events.All {
		if !k.must(check.Sent, got < len(want), "%s: %+v yields more than %v", x.name, b, want) {
			return
		}
		w := x.events[want[got]]
		same := string(w.Data) == string(e.Data) && (l.plain || e.Offset == w.Offset && e.Timestamp == w.Timestamp)
		if !k.must(check.Sent, same, "%s, stream %d: %+v yields %+v, where %+v was due", x.name, x.id, b, e, w) {
			return
		}
		got++
	}
	short := (got > 0 || put) && got < len(want) && k.suite.Faulty() // a read ends at damage with what came before it
	k.must(check.Sent, (got == len(want) || short) && int(r.HeadOffset) == len(x.events), "%s, stream %d of %d events from %d on: %+v yields %d events, %v were due, head %d",
		x.name, x.id, len(x.events), x.oldest, b, got, want, r.HeadOffset)
}

func (k *Keeper) judgeAppend(d *deed, b *wire.AppendEvents) {
	x := d.x
	r, ok := d.reply.(*wire.AppendEventsReply)
	age := wire.Time(k.config.KeyAge)
	i := slices.IndexFunc(x.keys, func(q keptKey) bool { return q.key == b.IdempotencyKey.Value })
	if i >= 0 && d.to-x.keys[i].reply.Timestamp < age {
		q := x.keys[i]
		if q.body != content(b) {
			e, refused := d.reply.(*wire.Error)
			k.must(check.Resent, refused && e.Code == wire.InvalidRequest, "%s: a key with other content: %+v", x.name, d.reply)
			return
		}
		want := q.reply
		want.Duplicate = true
		k.must(check.Resent, ok && *r == want, "%s, stream %d: sent again, %+v was answered, want %+v", x.name, x.id, d.reply, want)
		return
	}
	if i >= 0 && (!ok || r.Duplicate) && d.from-x.keys[i].reply.Timestamp < age {
		return // its age was about the limit
	}
	for ok && d.unsure && d.to-d.began >= age && int(r.FirstOffset) > len(x.events) {
		x.add(b) // it happened, and came again when its key was too old
	}
	if !k.must(check.Resent, ok && (!r.Duplicate || d.unsure) && int(r.FirstOffset) == len(x.events) && int(r.Count) == len(b.Events),
		"%s, stream %d with %d events, unsure %t: %+v", x.name, x.id, len(x.events), d.unsure, d.reply) {
		return
	}
	x.add(b)
	k.logged = max(k.logged, r.Timestamp)
	k.remember(x, keptKey{b.IdempotencyKey.Value, content(b), *r})
}

func (x *kept) add(b *wire.AppendEvents) {
	for i, data := range b.Events {
		x.events = append(x.events, wire.Event{Offset: wire.Offset(len(x.events)), Data: data, Timestamp: b.Timestamps.Value[i]})
	}
}

// remember notes a keyed append, and forgets as the limits say.
func (k *Keeper) remember(x *kept, q keptKey) {
	q.reply.Duplicate = false
	for len(x.keys) > 0 && (q.reply.Timestamp-x.keys[0].reply.Timestamp >= wire.Time(k.config.KeyAge) || len(x.keys) >= k.config.KeysPerStream) {
		k.forget(x)
	}
	x.keys = append(x.keys, q)
	k.order = append(k.order, x)
	for len(k.order) > k.config.Keys {
		k.forget(k.order[0])
	}
}

// forget drops the oldest key of a stream.
func (k *Keeper) forget(x *kept) {
	x.keys = x.keys[1:]
	i := slices.Index(k.order, x)
	k.order = slices.Delete(k.order, i, i+1)
}

// described compares what is told of a stream.
func (k *Keeper) described(x *kept, d *wire.StreamDescription, at wire.Time) {
	size := uint64(0)
	for _, e := range x.events[min(int(d.OldestOffset), len(x.events)):] {
		size += uint64(len(e.Data))
	}
	k.seen(x, d.OldestOffset, 0, at)
	k.must(check.Deleted, d.Name == x.name && d.Stream == x.id && d.RetentionDays == x.days && d.MinRetentionDays == x.least && len(d.Holds) == len(x.holds) &&
		d.Deleted == x.deleted && (!x.deleted || d.PurgeDate.Value == x.purge), "%+v is described as %+v", *x, d)
	k.must(check.Sent, int(d.HeadOffset) == len(x.events) && d.Bytes == size, "%s, stream %d with %d events and %d bytes is described as %+v", x.name, x.id, len(x.events), size, d)
}

// settle finds out from a description of the stream whether a deed has happened, and takes that up.
func (k *Keeper) settle(d *deed, b wire.ResponseBody) {
	k.pending = nil
	defer k.later()
	x := d.x
	if e, ok := b.(*wire.Error); ok {
		if k.must(check.Refusal, e.Code == wire.StreamNotFound, "%s: %s: %s", x.name, e.Code, e.Message) {
			k.settleGone(d)
		}
		return
	}
	info := &b.(*wire.StreamInfoReply).Info
	if _, create := d.body.(*wire.CreateStream); create {
		k.settleCreate(d, info)
		return
	}
	k.most(x, math.MaxInt64)
	if x.shows(d.body, info) {
		k.happened(x, d.body, info.PurgeDate.Value)
	}
	k.described(x, info, math.MaxInt64)
}

// shows reports whether a description tells that an act has changed the stream since.
func (x *kept) shows(act wire.RequestBody, info *wire.StreamDescription) bool {
	switch b := act.(type) {
	case *wire.DeleteStream:
		return info.Deleted && !x.deleted
	case *wire.UndeleteStream:
		return !info.Deleted && x.deleted
	case *wire.SetRetention:
		least := b.MinDays.Or(x.least)
		return info.RetentionDays == b.Days && info.MinRetentionDays == least && (b.Days != x.days || least != x.least)
	case *wire.SetHold:
		return len(info.Holds) > len(x.holds)
	case *wire.ReleaseHold:
		return len(info.Holds) < len(x.holds)
	}
	return false
}

// settleGone takes up that a stream is not there. A deletion that has happened may have been followed by the purge, and so
// may the release of the last hold.
func (k *Keeper) settleGone(d *deed) {
	x := d.x
	switch b := d.body.(type) {
	case *wire.CreateStream:
		return
	case *wire.DeleteStream:
		if !x.deleted && len(x.holds) == 0 {
			k.tell("stream.delete", x)
			k.gone(x)
			return
		}
	case *wire.ReleaseHold:
		if x.deleted && len(x.holds) == 1 && x.holds[0] == b.Name {
			k.tell("hold.release", x)
			k.gone(x)
			return
		}
	}
	if k.must(check.Deleted, x.purgeable(math.MaxInt64), "%s, stream %d is not found", x.name, x.id) {
		k.gone(x)
	}
}

func (k *Keeper) settleCreate(d *deed, info *wire.StreamDescription) {
	y := k.named(d.x.name)
	if y == nil || y.id != info.Stream {
		k.created(d.x, y, info.Stream)
		k.described(d.x, info, math.MaxInt64)
	}
}
