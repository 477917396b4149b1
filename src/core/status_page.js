// SPDX-License-Identifier: MIT
// Draws status.json once a second. The server gives counters; rates are differences of two answers.
'use strict';
(() => {
const HISTORY = 300, RATE_SECONDS = 3, COST_SECONDS = 15, LATENCY_SECONDS = 30, RINGS_SHOWN = 8;
const answers = [];   // the last LATENCY_SECONDS and a bit
const history = [];   // one small object an answer, for the curves
const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
const $ = id => document.getElementById(id);
const sum = object => Object.values(object).reduce((a, b) => a + b, 0);

// ---- numbers for people
const grouped = n => Math.round(n).toLocaleString('en-US').replace(/,/g, '\u202f');
function short(n) {
  if (n == null || !isFinite(n)) return '–';
  for (const [unit, name] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']])
    if (n >= unit) return (n / (unit === 1e4 ? 1e3 : unit)).toPrecision(3).replace(/\.0+$/, '') + '\u202f' + name;
  return n >= 100 || Number.isInteger(n) ? grouped(n) : n >= 10 ? n.toFixed(0) : n > 0 ? n.toFixed(1) : '0';
}
function bytes(n) {
  let unit = 0;
  for (; n >= 999.5 && unit < 4; unit++) n /= 1024;
  return (unit === 0 ? Math.round(n) : n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)) +
    '\u202f' + ['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit];
}
function seconds(s) {
  if (s == null) return '–';
  if (s === Infinity) return '> 500\u202fs';
  for (const [limit, factor, name] of [[1e-3, 1e6, 'µs'], [1, 1e3, 'ms'], [120, 1, 's']])
    if (s < limit) return +(s * factor).toPrecision(s * factor >= 100 ? 3 : 2) + '\u202f' + name;
  const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
  return d ? `${d} d ${h % 24} h` : h ? `${h} h ${m % 60} min` : `${m} min`;
}
const percent = x => (x > 0 && x < .01 ? '< 1' : Math.round(100 * x)) + '\u202f%';

// ---- elements, made once and then changed
function make(tag, attributes = {}, ...children) {
  const svg = ['svg', 'path', 'rect', 'line'].includes(tag);
  const element = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'ink') element.style.setProperty('--ink', `var(--${value})`);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
function say(element, text) { if (element.textContent !== text) element.textContent = text; }
const share = (element, x) => { element.style.width = (100 * Math.max(0, Math.min(1, x || 0))).toFixed(2) + '%'; };

// The part of `box` for `key`, made by build() where it is new. sweep() removes those not asked for since.
function part(box, key, build) {
  box.parts ||= new Map();
  let entry = box.parts.get(key);
  if (!entry) {
    entry = build();
    box.parts.set(key, entry);
    box.append(entry.element);
  }
  entry.seen = true;
  return entry;
}
function sweep(box) {
  for (const [key, entry] of box.parts || []) {
    if (!entry.seen) { entry.element.remove(); box.parts.delete(key); }
    entry.seen = false;
  }
}

// ---- differences
const latest = () => answers[answers.length - 1];
function before(span) {   // the answer about `span` seconds older than the latest; undefined where there is none
  const now = latest();
  let found;
  for (let i = answers.length - 2; i >= 0; i--) {
    found = answers[i];
    if (now.uptime_seconds - found.uptime_seconds >= span - .5) break;
  }
  return found;
}
// The rate a second of what `read` finds; null until there are two answers.
function rate(read, span = RATE_SECONDS) {
  const old = before(span), now = latest();
  if (!old) return null;
  const a = read(old), b = read(now);
  return a === undefined || b === undefined ? null : Math.max(0, b - a) / (now.uptime_seconds - old.uptime_seconds);
}
const named = (list, key, name) => list.find(x => x[key] === name) || {};
function buckets(read) {   // of the last LATENCY_SECONDS; of everything where that is all there is
  const now = read(latest()), old = before(LATENCY_SECONDS), was = old && read(old);
  return now.map((n, i) => n - (was ? was[i] : 0));
}
function quantile(counts, q) {
  const bounds = latest().bucket_bounds_seconds, total = counts.reduce((a, b) => a + b, 0);
  if (!total) return null;
  for (let i = 0, seen = 0; i < counts.length; i++) {
    if (seen + counts[i] >= q * total && counts[i]) {
      const low = i ? bounds[i - 1] : 0;
      return i < bounds.length ? low + (bounds[i] - low) * (q * total - seen) / counts[i] : Infinity;
    }
    seen += counts[i];
  }
  return Infinity;
}
const endToEnd = s => s.sources.length ? buckets(x => added(x.sources.map(y => y.end_to_end.buckets))) : [];
const added = lists => lists.reduce((a, b) => a.map((n, i) => n + b[i]));

// ---- curves
// A curve fills its tile after a minute; from then on it shows ever more, up to HISTORY seconds.
const across = () => 300 / (Math.min(HISTORY, Math.max(60, history.length)) - 1);
function curve(points, top, height) {
  const step = across(), start = 300 - (points.length - 1) * step;
  return points.map((y, i) => `${i ? 'L' : 'M'}${(start + i * step).toFixed(1)} ` +
    `${(height - 2 - (height - 6) * Math.min(1, (y || 0) / (top || 1))).toFixed(1)}`).join('');
}
function tile(key, name, ink, wide) {
  return part($('hero'), key, () => {
    const height = wide ? 64 : 52;
    const value = make('div', {class: 'value'}), more = make('div', {class: 'more'}),
      peak = make('span', {class: 'peak'}), area = make('path', {class: 'area'}),
      line = make('path', {class: 'curve'}), second = make('path', {class: 'second'});
    const element = make('div', {class: wide ? 'tile wide' : 'tile', ink}, make('div', {class: 'name'}, name), value,
      more, peak, make('svg', {viewBox: `0 0 300 ${height}`, preserveAspectRatio: 'none'}, area, line, second));
    return {element, height, value, more, peak, area, line, second};
  });
}
function drawTile(t, [value, unit], more, field, {top, floor = 0, other, peak} = {}) {
  t.value.replaceChildren(value, make('small', {}, unit));
  say(t.more, more);
  const points = history.map(x => x[field]), others = other ? history.map(x => x[other]) : [];
  const highest = top || Math.max(...points, ...others, floor);
  const path = curve(points, highest, t.height);
  const start = 300 - (points.length - 1) * across();
  if (points.length) t.area.setAttribute('d', `${path}L300 ${t.height}L${start.toFixed(1)} ${t.height}Z`);
  t.line.setAttribute('d', path);
  if (other) t.second.setAttribute('d', curve(others, highest, t.height));
  if (peak) say(t.peak, `peak ${short(Math.max(...points, 0))}`);
}
const unitOf = text => { const at = text.lastIndexOf('\u202f'); return [text.slice(0, at), text.slice(at + 1)]; };

function drawHero(s) {
  const delivered = rate(x => x.sinks.reduce((n, k) => n + k.delivered_records, 0));
  drawTile(tile('rate', 'Events delivered', 'sink', true), [short(delivered), 'a second'],
    `${grouped(s.sinks.reduce((n, k) => n + k.delivered_records, 0))} in all · dashed: decoded`,
    'delivered', {other: 'walked', peak: true});
  const latency = endToEnd(s);
  const p99 = quantile(latency, .99), p50 = quantile(latency, .5);
  const worst = Math.max(0, ...s.sources.map(x => x.oldest_frame_seconds));
  drawTile(tile('latency', 'Receipt to settlement, 99 of 100', 'decode'),
    p99 == null ? ['–', ''] : p99 === Infinity ? ['> 500', 's'] : unitOf(seconds(p99)),
    `half in ${seconds(p50)} · oldest ${worst ? seconds(worst) : '–'}`, 'p99');
  const {bytes: used, bytes_limit: limit} = s.inflight;
  drawTile(tile('memory', 'Memory in flight', used > .9 * limit ? 'warn' : 'ingest'), unitOf(bytes(used)),
    `of ${bytes(limit)} · ${grouped(s.inflight.frames)} messages`, 'used', {top: limit});
  $('hero').parts.get('memory').element.style.setProperty('--ink', `var(--${used > .9 * limit ? 'warn' : 'ingest'})`);
  const cost = rate(x => x.cpu_seconds, COST_SECONDS), walked = rate(x => sum(x.decode.events), COST_SECONDS);
  const points = 100 * cost;
  const shown = cost == null ? '–' : points < 1 ? +points.toPrecision(1) : points.toFixed(points < 10 ? 1 : 0);
  drawTile(tile('cpu', 'Processor', 'muted'), [shown, '% of one'],
    `${walked > 10 ? (1e6 * cost / walked).toFixed(2) + ' µs an event · ' : ''}${bytes(s.resident_bytes)} RAM`, 'cpu',
    {floor: .02});
}

// ---- the stages
function card(box, key, ink) {
  return part(box, key, () => {
    const dot = make('span', {class: 'dot'}), name = make('b'), label = make('span', {class: 'muted'});
    const first = make('b'), second = make('span', {class: 'muted'});
    const threads = make('div'), facts = make('dl', {class: 'facts'});
    const element = make('div', {class: 'card', ink}, make('div', {class: 'head'}, dot, name, label),
      make('div', {class: 'rates'}, first, second), threads, facts);
    return {element, dot, name, label, first, second, threads, facts};
  });
}
function drawFacts(box, facts) {
  for (const [name, value, tone] of facts) {
    if (value == null) continue;
    const entry = part(box, name, () => {
      const term = make('dt', {}, name), data = make('dd'), element = make('div', {class: 'row'}, term, data);
      element.style.display = 'contents';
      return {element, data};
    });
    say(entry.data, value);
    entry.data.className = tone || '';
  }
  sweep(box);
}
const busy = name => rate(x => named(x.threads, 'thread', name).busy_seconds);
const blocked = name => rate(x => named(x.threads, 'thread', name).blocked_seconds);
function drawThreads(box, threads) {
  for (const t of threads) {
    const entry = part(box, t.thread, () => {
      const work = make('i'), wait = make('i', {class: 'blocked'}), text = make('span');
      const element = make('div', {class: 'thread'}, make('span', {title: t.thread}, t.thread),
        make('span', {class: 'meter'}, work, wait), text);
      return {element, work, wait, text};
    });
    // A thread counts a wait when it is over: while it lasts, the flags tell.
    const waits = t.waiting_for_peer && t.has_work;
    const b = busy(t.thread), w = waits ? Math.max(1 - b, blocked(t.thread)) : blocked(t.thread);
    share(entry.work, b);
    share(entry.wait, Math.min(w, 1 - b));
    const [most, word] = w > .02 ? [w, 'blocked'] : [b, 'busy'];
    say(entry.text, b == null ? '' : waits ? 'waiting' : `${percent(Math.min(most, 1))} ${word}`);
  }
  sweep(box);
}
function drawSource(s, source) {
  const c = card($('sources'), source.name, 'ingest');
  const mine = x => named(x.sources, 'name', source.name);
  c.dot.setAttribute('class', `dot ${source.connected ? 'good' : 'bad'}`);
  say(c.name, source.name);
  say(c.label, source.connected ? source.receivers > 1 ? `${source.receivers} receivers` : '' : 'not connected');
  say(c.first, short(rate(x => mine(x).received_frames)));
  say(c.second, `messages/s · ${bytes(rate(x => mine(x).received_bytes) || 0)}/s`);
  drawThreads(c.threads, s.threads.filter(t => t.stage === 'ingest' && t.section === source.name));
  const dropped = sum(source.dropped);
  drawFacts(c.facts, [
    ['backlog on the broker', source.queue_messages == null ? null : grouped(source.queue_messages)],
    ['archived files left', source.archive_left_files == null ? null : grouped(source.archive_left_files)],
    ['messages in the spool', source.spool_messages == null ? null : grouped(source.spool_messages)],
    ['oldest in flight', source.oldest_frame_seconds > 0 ? seconds(source.oldest_frame_seconds) : '–',
      source.oldest_frame_seconds > 10 ? 'warn' : ''],
    ['delivered again by the broker', source.redelivered_frames ? grouped(source.redelivered_frames) : null],
    ['connections made', source.connects > source.receivers ? grouped(source.connects) : null],
    ['time without connection', source.gap_seconds > 0 ? seconds(source.gap_seconds) : null, 'warn'],
    ['dropped', dropped ? grouped(dropped) : null, 'bad'],
  ]);
}
function drawDecode(s) {
  const c = card($('decode'), 'decode', 'decode');
  const counts = buckets(x => x.decode.decode.buckets);
  c.dot.setAttribute('class', `dot ${s.healthy ? 'good' : 'bad'}`);
  say(c.name, 'decode');
  const workers = s.threads.filter(t => t.stage === 'decode');
  say(c.label, workers.length === 1 ? '1 worker' : `${workers.length} workers`);
  say(c.first, short(rate(x => sum(x.decode.events))));
  const walked = rate(x => sum(x.decode.events)), frames = rate(x => x.decode.frames);
  say(c.second, 'events/s' + (frames > 0 ? ` · ${short(walked / frames)} a message` : ''));
  drawThreads(c.threads, workers);
  const filtered = sum(s.decode.filtered), dead = sum(s.decode.dead);
  drawFacts(c.facts, [
    ['one message, half / 99 of 100', `${seconds(quantile(counts, .5))} / ${seconds(quantile(counts, .99))}`],
    ['filtered', grouped(filtered)],
    ['dead letters', grouped(dead), dead ? 'warn' : ''],
  ]);
}
function drawSink(s, sink) {
  const c = card($('sinks'), sink.name, 'sink');
  const mine = x => named(x.sinks, 'name', sink.name);
  c.dot.setAttribute('class', `dot ${sink.connected ? 'good' : 'bad'}`);
  say(c.name, sink.name);
  say(c.label, sink.connected ? '' : 'not delivering');
  say(c.first, short(rate(x => mine(x).delivered_records)));
  say(c.second, `records/s · ${bytes(rate(x => mine(x).delivered_bytes) || 0)}/s`);
  drawThreads(c.threads, s.threads.filter(t => t.stage === 'sink' && t.section === sink.name));
  const resent = sum(sink.resent);
  drawFacts(c.facts, [
    ['on their way', grouped(sink.inflight_events)],
    ['dead letters in topic / on disk', sink.delivered_dead_letters + sink.stored_dead_letters ?
      `${grouped(sink.delivered_dead_letters)} / ${grouped(sink.stored_dead_letters)}` : null, 'warn'],
    ['sent again', resent ? grouped(resent) : null, 'warn'],
    ['producers replaced', sink.producers_replaced ? grouped(sink.producers_replaced) : null, 'warn'],
  ]);
}

// Wires between the cards: drops run as fast as messages do, and stand, amber, where a stage is blocked.
function wire(key, from, to, flow, ink, stuck) {
  const svg = $('wires'), entry = part(svg, key, () => {
    const bed = make('path', {class: 'wire'}), drops = make('path', {class: 'drops', ink});
    const element = make('svg', {}, bed, drops);
    const run = still ? null : drops.animate([{strokeDashoffset: 14.1}, {strokeDashoffset: 0}],
      {duration: 1000, iterations: Infinity});
    return {element, bed, drops, run};
  });
  const box = $('flow').getBoundingClientRect(), a = from.getBoundingClientRect(), b = to.getBoundingClientRect();
  const x1 = a.right - box.left + 8, y1 = a.top + a.height / 2 - box.top;
  const x2 = b.left - box.left - 8, y2 = b.top + b.height / 2 - box.top, bend = (x2 - x1) / 2;
  const path = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  entry.bed.setAttribute('d', path);
  entry.drops.setAttribute('d', path);
  entry.drops.setAttribute('class', stuck ? 'drops still' : 'drops');
  entry.drops.style.strokeWidth = 4 + Math.min(3, Math.log10(1 + (flow || 0)) / 2);
  entry.drops.style.opacity = flow > 0 || stuck ? 1 : 0;
  if (!entry.run) return;
  entry.run.play();
  entry.run.updatePlaybackRate(flow > 0 && !stuck ? .6 + Math.log10(1 + flow) : 0);
}
function drawFlow(s) {
  s.sources.forEach(source => drawSource(s, source));
  sweep($('sources'));
  drawDecode(s);
  s.sinks.forEach(sink => drawSink(s, sink));
  sweep($('sinks'));
  const middle = $('decode').parts.get('decode').element;
  for (const source of s.sources) {
    const waits = s.threads.filter(t => t.section === source.name && t.stage === 'ingest')
      .some(t => blocked(t.thread) > .5);
    wire(`source ${source.name}`, $('sources').parts.get(source.name).element, middle,
      rate(x => named(x.sources, 'name', source.name).received_frames), 'ingest', waits);
  }
  for (const sink of s.sinks)
    wire(`sink ${sink.name}`, middle, $('sinks').parts.get(sink.name).element,
      rate(x => named(x.sinks, 'name', sink.name).delivered_records), 'sink',
      !sink.connected && sink.inflight_events > 0);
  sweep($('wires'));
}

// ---- lists
function drawBars(box, rows, ink, empty) {
  const most = Math.max(...rows.map(r => r.size), 1e-9);
  rows.forEach((r, place) => {
    const entry = part(box, r.name, () => {
      const fill = make('i'), first = make('span', {class: 'num'}), second = make('span', {class: 'num muted'});
      const element = make('div', {class: 'row', ink: r.ink || ink},
        make('span', {class: 'name', title: r.name}, r.name), make('span', {class: 'meter'}, fill), first,
        ...r.second ? [second] : []);
      return {element, fill, first, second};
    });
    share(entry.fill, r.full ? r.size : r.size / most);
    say(entry.first, r.first);
    say(entry.second, r.second || '');
    if (box.children[place] !== entry.element) box.insertBefore(entry.element, box.children[place] || null);
  });
  if (!rows.length) part(box, ' empty', () => ({element: make('div', {class: 'empty'}, empty)}));
  sweep(box);
}
function drawTypes(s) {
  const rows = Object.entries(s.decode.events).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1])
    .map(([name, n]) => ({name, size: rate(x => x.decode.events[name], 10) || 0, first:
      `${short(rate(x => x.decode.events[name], 10) || 0)}/s`, second: grouped(n)}));
  drawBars($('types'), rows, 'decode', 'No event yet.');
}
function drawReasons(s) {
  const rows = [], all = (kind, counts, ink) => {
    for (const [reason, n] of Object.entries(counts))
      if (n > 0) rows.push({name: `${kind}: ${reason.replace(/_/g, ' ')}`, size: n, first: grouped(n), ink});
  };
  all('filtered', s.decode.filtered, 'muted');
  all('dead letter', s.decode.dead, 'warn');
  for (const source of s.sources) all(`dropped (${source.name})`, source.dropped, 'bad');
  const abandoned = s.sources.reduce((n, x) => n + x.abandoned_frames, 0);
  if (abandoned) all('abandoned', {'comes again': abandoned}, 'ingest');
  rows.sort((a, b) => b.size - a.size).forEach(r => { r.size = Math.log10(1 + r.size); });
  drawBars($('reasons-list'), rows, 'warn', 'Nothing: every event was delivered.');
  const rings = [...s.rings].sort((a, b) => b.used_ratio - a.used_ratio).slice(0, RINGS_SHOWN)
    .map(r => ({name: r.ring.replace(' to ', ' → '), size: r.used_ratio, full: true, first: percent(r.used_ratio),
      ink: 'ingest'}));
  drawBars($('rings'), rings, 'ingest', 'None.');
}
function drawLatency(s) {
  const rows = [['Decode of a message', 'decode', x => x.decode.decode.buckets]];
  if (s.sources.length) {
    for (const [name, ink, id] of [['Hand-over to delivery', 'sink', 'delivery'],
      ['Receipt to settlement', 'ingest', 'end_to_end'], ['The event itself to delivery', 'muted', 'event_lag']])
      rows.push([name, ink, x => added(x.sources.map(y => y[id].buckets))]);
  }
  for (const [name, ink, read] of rows) {
    const entry = part($('latency'), name, () => {
      const p50 = make('span', {class: 'num'}), p99 = make('span', {class: 'num'}), rects = [];
      const svg = make('svg', {viewBox: '0 0 250 34', preserveAspectRatio: 'none'});
      for (let i = 0; i < 25; i++) svg.append(rects[i] = make('rect', {x: i * 10 + .5, width: 9, rx: 1}));
      return {element: make('div', {class: 'lat', ink}, make('span', {}, name), p50, p99, svg), p50, p99, rects};
    });
    const counts = buckets(read), most = Math.max(...counts, 1);
    entry.p50.replaceChildren(make('small', {}, '½ '), seconds(quantile(counts, .5)));
    entry.p99.replaceChildren(make('small', {}, '99 '), seconds(quantile(counts, .99)));
    counts.forEach((n, i) => {
      const height = n ? Math.max(2, 32 * n / most) : .8;
      entry.rects[i].setAttribute('height', height);
      entry.rects[i].setAttribute('y', 33 - height);
      entry.rects[i].style.opacity = n ? 1 : .25;
    });
  }
  part($('latency'), ' axis', () => ({element: make('div', {class: 'axis'},
    ...['10 µs', '100 µs', '1 ms', '10 ms', '100 ms', '1 s', '10 s', '100 s'].map(x => make('span', {}, x)))}));
  sweep($('latency'));
}

// ---- the balance
const resting = new Map();   // for each balance what it was, and for how many answers it has not moved since
function verdict(key, b, what) {
  const now = JSON.stringify(b), was = resting.get(key);
  const alike = was && was.now === now ? was.alike + 1 : 0;
  resting.set(key, {now, alike});
  if (b.difference === 0) return ['good', 'All accounted for: nothing is missing.'];
  if (b.difference > 0 && (b.in_flight > 0 || alike < 4))
    return ['muted', `${grouped(b.difference)} ${what} are being handed over or acknowledged at this moment.`];
  return ['bad', `Off by ${grouped(b.difference)} ${what}: that is a bug, please report it with status.json.`];
}
function drawBalance(s) {
  const draw = (key, title, what, b, total, parts) => {
    const entry = part($('balance'), key, () => {
      const name = make('span'), small = make('small'), stack = make('div', {class: 'stack'}),
        list = make('div', {class: 'sum'}), text = make('div', {class: 'verdict'});
      const pieces = parts.map(([label, , ink]) => {
        const piece = {bar: make('i', {ink}), count: make('b')};
        piece.bar.style.background = 'var(--ink)';
        stack.append(piece.bar);
        list.append(make('span', {ink}, label, piece.count));
        return piece;
      });
      return {element: make('article', {}, make('h2', {}, name, small), stack, list, text), name, small, pieces, text};
    });
    say(entry.name, title);
    say(entry.small, `${grouped(b[total])} ${what}`);
    parts.forEach(([, field], i) => {
      share(entry.pieces[i].bar, b[field] / (b[total] || 1));
      say(entry.pieces[i].count, ` ${grouped(b[field])}`);
    });
    const [tone, text] = verdict(key, b, what);
    entry.text.className = `verdict ${tone}`;
    say(entry.text, text);
  };
  draw('frames', 'Messages received', 'messages', s.balance.frames, 'received', [['settled', 'settled', 'good'],
    ['in flight', 'in_flight', 'ingest'], ['abandoned, to come again', 'abandoned', 'muted'],
    ['dropped', 'dropped', 'bad']]);
  for (const b of s.balance.events)
    draw(`events ${b.sink}`, `Events walked, for ${b.sink}`, 'events', b, 'walked', [['delivered', 'delivered', 'good'],
      ['in flight', 'in_flight', 'ingest'], ['filtered', 'filtered', 'muted'],
      ['dead letters', 'dead_letters', 'warn']]);
  sweep($('balance'));
}

// ---- the whole
function drawState(s, failed) {
  const moving = rate(x => sum(x.decode.events)) > 0;
  const [tone, word] = failed ? ['bad', 'No answer'] : !s.healthy ? ['bad', 'Stuck'] : !s.ready ? ['warn', 'Waiting'] :
    moving ? ['good', 'Flowing'] : ['good', 'Idle'];
  const state = $('state'), list = $('reasons');
  state.className = `pill ${tone}`;
  say(state, word);
  const reasons = failed ?
    [`status.json: ${failed}. What follows is from ${new Date(s.time_ms).toLocaleTimeString()}.`] :
    [...s.stuck ? [s.stuck] : [], ...s.reasons];
  document.querySelector('main').classList.toggle('stale', !!failed);
  if (failed) document.getAnimations().forEach(animation => animation.pause());
  list.hidden = !reasons.length;
  list.className = tone;
  if (list.shown !== reasons.join('\n')) {
    list.shown = reasons.join('\n');
    list.replaceChildren(...reasons.map(x => make('li', {}, x)));
  }
  document.title = `${word} · cbtap${s.server ? ' · ' + s.server : ''}`;
}
function draw(s) {
  say($('server'), s.server);
  say($('about'), `up ${seconds(s.uptime_seconds)} · version ${s.version}`);
  drawState(s);
  drawHero(s);
  drawFlow(s);
  drawTypes(s);
  drawReasons(s);
  drawLatency(s);
  drawBalance(s);
  say($('note'), `curves: the last ${Math.round(HISTORY / 60)} minutes that this page was open`);
}
function remember(s) {
  const last = latest();
  if (last && (s.uptime_seconds < last.uptime_seconds || s.version !== last.version)) {   // it was restarted
    answers.length = 0;
    history.length = 0;
    resting.clear();
  }
  answers.push(s);
  while (s.uptime_seconds - answers[0].uptime_seconds > LATENCY_SECONDS + 5) answers.shift();
  if (answers.length < 2) return;
  history.push({
    delivered: rate(x => x.sinks.reduce((n, k) => n + k.delivered_records, 0), 1),
    walked: rate(x => sum(x.decode.events), 1),
    p99: Math.min(500, quantile(endToEnd(s), .99) || 0),
    used: s.inflight.bytes,
    cpu: rate(x => x.cpu_seconds, 1),
  });
  if (history.length > HISTORY) history.shift();
}
async function poll() {
  try {
    const answer = await fetch('status.json', {cache: 'no-store', signal: AbortSignal.timeout(5000)});
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    remember(await answer.json());
    draw(latest());
  } catch (error) {
    if (latest()) drawState(latest(), error.message);
    else { $('state').className = 'pill bad'; say($('state'), `No answer: ${error.message}`); }
  }
}
async function run() {
  for (;;) {
    const next = performance.now() + 1000;
    if (!document.hidden) await poll();
    await new Promise(resolve => setTimeout(resolve, Math.max(100, next - performance.now())));
  }
}
addEventListener('resize', () => { if (latest()) drawFlow(latest()); });
run();
})();
