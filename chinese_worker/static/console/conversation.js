'use strict';
// The page of a conversation: the database says what was said, the event stream makes the page follow it live.
{
    const page = document.getElementById('conversation');
    const initial = JSON.parse(document.getElementById('conversation-state').textContent);
    const byId = (id) => document.getElementById(id);
    const transcript = new Transcript(byId('transcript'), Boolean(page.dataset.maySend));
    const asks = new Asks(byId('asks'), page.dataset.maySend ? page.dataset.url : null, answer);
    const runs = new Runs(byId('runs'), {
        base: page.dataset.url, mayRetry: Boolean(page.dataset.mayRetry), maySend: Boolean(page.dataset.maySend),
        act: (...what) => act(...what), read: getJSON,
    });
    const TERMINAL = ['completed', 'failed', 'cancelled'];
    const RETRY_MS = [1000, 2000, 4000, 8000, 15000];

    class SignedOut extends Error {}

    let state = initial;
    let earlier = [];
    let source = null;
    let cursor = '';
    let failures = 0;
    let refreshing = null;
    let again = false;
    let stale = false;
    let signedOut = false;

    // --- Drawing

    function showEnd() {
        byId('end').scrollIntoView({block: 'end'});
    }

    /** Whoever reads the end keeps reading it; whoever has scrolled up is left there. */
    function keepingEnd(change) {
        const follow = byId('end').getBoundingClientRect().bottom <= window.innerHeight + 120;
        change();
        if (follow) showEnd();
    }

    function number(count, noun) {
        return `${count.toLocaleString()} ${noun}${count === 1 ? '' : 's'}`;
    }

    function draw() {
        const underway = new Set(state.runs.filter((run) => !run.ended).map((run) => run.id));
        transcript.draw([...earlier, ...state.messages], underway);
        byId('no-messages').hidden = Boolean(state.messages.length);
        byId('show-earlier').hidden = state.earlier === null;
        byId('conversation-status').replaceChildren(badge(state.status));
        byId('conversation-numbers').textContent = `${number(state.turns, 'turn')} · ${number(state.tokens, 'token')}`;
        byId('stop').hidden = !state.open || !page.dataset.maySend;
        asks.draw(state.asks);
        runs.draw(state.runs, !state.open);
        byId('no-runs').hidden = Boolean(state.runs.length);
        if (!state.open) showActivity('');
        if (byId('busy')) byId('busy').hidden = !state.open;
        drawTodo(state.todo);
        drawLiveness();
    }

    function drawTodo(items) {
        byId('todo').hidden = !items.length;
        byId('todo').querySelector('ul').replaceChildren(...items.map(({item, priority, done}) => {
            const line = element('li', done ? 'done' : '', `${done ? '☑' : '☐'} ${item}`);
            if (priority !== 'medium') line.append(' ', element('span', 'tag', priority));
            return line;
        }));
    }

    /** What goes on that is no text; nothing once text comes. */
    function showActivity(text) {
        byId('activity').textContent = text;
        byId('activity').hidden = !text;
    }

    function drawLiveness() {
        const dot = byId('liveness');
        const connected = source && source.readyState === EventSource.OPEN;
        const mode = document.hidden || (connected && !state.open) ? 'Idle' : connected ? 'Live' : 'Reconnecting';
        dot.className = `liveness liveness-${mode.toLowerCase()}`;
        dot.textContent = mode;
    }

    function say(text, bad) {
        const notice = byId('notice');
        notice.textContent = text;
        notice.className = `notice${bad ? ' error' : ''}`;
        notice.hidden = !text;
    }

    // --- The database

    async function getJSON(url) {
        const response = await fetch(url, {headers: {Accept: 'application/json'}, credentials: 'same-origin'});
        if (response.redirected) throw new SignedOut();
        if (!response.ok) throw new Error(`The server answered ${response.status}.`);
        return response.json();
    }

    /** Read the conversation anew. Calls while one is under way end in one more. */
    async function refresh() {
        if (refreshing) {
            again = true;
            return refreshing;
        }
        refreshing = getJSON(`${page.dataset.url}state/`)
            .then((fresh) => keepingEnd(() => { take(fresh); draw(); upToDate(true); }))
            .catch((error) => (error instanceof SignedOut ? leave() : upToDate(false)));
        await refreshing;
        refreshing = null;
        if (again) {
            again = false;
            await refresh();
        }
        return undefined;
    }

    /** The session is over: nothing more comes until somebody signs in. */
    function leave() {
        signedOut = true;
        disconnect();
        say('You are signed out. Load the page again to sign in.', true);
    }

    /** The server may be away for a moment: say so until it has answered. */
    function upToDate(yes) {
        if (!yes) say('The server does not answer. The page is brought up to date when it does.', true);
        else if (stale) say('');
        stale = !yes;
    }

    /** What was read earlier stays, also what has slid out of the newest messages since. */
    function take(fresh) {
        if (earlier.length) {
            const first = fresh.messages.length ? fresh.messages[0].position : 0;
            earlier.push(...state.messages.filter((one) => one.position !== null && one.position < first));
            fresh.earlier = state.earlier;
        }
        state = fresh;
    }

    async function showEarlier() {
        const older = await getJSON(`${page.dataset.url}state/?before=${state.earlier}`);
        earlier = [...older.messages, ...earlier];
        state.earlier = older.earlier;
        draw();
    }

    // --- The stream

    function connect() {
        if (source || document.hidden || signedOut) return;
        const query = new URLSearchParams({follow: '1', ...(cursor ? {after: cursor} : {})});
        source = new EventSource(`${page.dataset.stream}?${query}`);
        source.addEventListener('open', () => { failures = 0; drawLiveness(); if (stale) refresh(); });
        source.addEventListener('error', onError);
        const names = ['connected', 'status_changed', 'model_loading', 'turn_started', 'text_chunk', 'tool_executing',
            'tool_completed', 'tool_request', 'approval_request', 'context_trimmed', 'attempt_started', 'resync', ...TERMINAL];
        for (const name of names) source.addEventListener(name, (event) => onEvent(name, event));
        drawLiveness();
    }

    function disconnect() {
        if (source) source.close();
        source = null;
        drawLiveness();
    }

    /** The browser reconnects by itself after a cut; after an answer that is no stream, we do. */
    function onError() {
        drawLiveness();
        if (!source || source.readyState !== EventSource.CLOSED) return;
        disconnect();
        setTimeout(() => refresh().then(connect), RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
        failures += 1;
    }

    function onEvent(name, event) {
        if (event.lastEventId) cursor = event.lastEventId;
        const data = JSON.parse(event.data);
        drawLiveness();
        tellActivity(name, data);
        if (name === 'text_chunk') onChunk(data);
        else if (name === 'resync') onResync(data);
        else if (name === 'attempt_started') transcript.discard(data.run_id, data.discard_from);
        else if (TERMINAL.includes(name)) onEnd(data);
        else if (!['connected', 'context_trimmed'].includes(name)) onProgress(name, data);
    }

    const ACTIVITIES = {
        model_loading: ({model}) => `The model ${model} is being loaded…`,
        tool_executing: ({tool}) => `${tool.name} is being called…`,
        context_trimmed: ({messages}) => `${number(messages, 'earlier message')} did not fit the model's window.`,
        attempt_started: () => 'The turn is taken again: its worker was lost.',
    };

    /** What the newest event says goes on, where its run has not ended. */
    function tellActivity(name, data) {
        const run = knownRun(data.run_id);
        if (name in ACTIVITIES && !(run && run.ended)) showActivity(ACTIVITIES[name](data));
        else if (!['connected', 'status_changed', 'resync'].includes(name)) showActivity('');
    }

    function knownRun(runId) {
        return state.runs.find((run) => run.id === runId);
    }

    function onChunk(data) {
        const run = knownRun(data.run_id);
        if (run && run.ended) return;
        if (!run) refresh();
        keepingEnd(() => { if (!transcript.add(data)) startOver(); });
    }

    /** Something was missed: read what there is, then the run's events from its beginning. */
    function startOver() {
        cursor = '';
        disconnect();
        refresh().then(() => setTimeout(connect, 500));
    }

    function onResync(data) {
        const run = knownRun(data.run_id);
        if (run && !run.ended && typeof data.text === 'string') {
            transcript.replace(data.run_id, data.turn || 1, data.text, data.thinking || '');
        }
        refresh();
    }

    function onEnd(data) {
        const run = knownRun(data.run_id);
        if (!run || !run.ended) refresh();
    }

    /** A turn or a tool began or ended. What is replayed of a run that has ended is no news. */
    function onProgress(name, data) {
        const run = data.run_id ? knownRun(data.run_id) : null;
        if (!run || (!run.ended && (name !== 'status_changed' || run.status === 'queued'))) refresh();
    }

    // --- What the operator does

    /** Post, and draw what came of it; `accepted` is called as soon as the server has taken it. */
    async function act(url, button, body, accepted) {
        button.disabled = true;
        try {
            const response = await fetch(url, {
                method: 'POST',
                headers: {Accept: 'application/json', 'X-CSRFToken': page.querySelector('[name=csrfmiddlewaretoken]').value},
                body: body || new FormData(),
                credentials: 'same-origin',
            });
            const answer = response.headers.get('Content-Type').startsWith('application/json') ? await response.json() : null;
            if (!answer) throw new Error(`The server answered ${response.status}.`);
            say(answer.ok ? '' : answer.text, !answer.ok);
            if (answer.ok && accepted) accepted();
            if (answer.ok && answer.url) location.assign(answer.url);
            await refresh();
            return answer.ok;
        } catch (error) {
            say(`${error.message} Nothing was done; try again.`, true);
            return false;
        } finally {
            button.disabled = false;
        }
    }

    /** Of a card: which button was pressed is part of the form. */
    function answer(url, form, button) {
        const body = new FormData(form);
        body.set(button.name, button.value);
        return act(url, button, body);
    }

    byId('transcript').addEventListener('click', (event) => {
        const button = event.target.closest('.fork');
        if (!button) return;
        const body = new FormData();
        body.set('position', button.dataset.position);
        act(`${page.dataset.url}fork/`, button, body);
    });

    const composer = byId('composer');
    if (composer) {
        const attachments = new Attachments(composer.elements.images, composer.elements.content);
        composer.addEventListener('submit', async (event) => {
            event.preventDefault();
            const {content} = composer.elements;
            const sent = content.value;
            await act(composer.action, composer.querySelector('button'), new FormData(composer), () => {
                if (content.value === sent) content.value = '';  // else the next message is being typed
                attachments.clear();
            });
            showEnd();
        });
        composer.elements.content.addEventListener('keydown', (event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
                event.preventDefault();
                composer.requestSubmit();
            }
        });
    }
    byId('stop').addEventListener('click', () => act(`${page.dataset.url}stop/`, byId('stop')));
    byId('show-earlier').addEventListener('click', showEarlier);

    document.addEventListener('visibilitychange', () => {
        if (document.hidden) disconnect();
        else { refresh(); connect(); }
    });
    window.addEventListener('pagehide', disconnect);

    // Once the scripts of every page have run, which come later.
    document.addEventListener('DOMContentLoaded', () => {
        draw();
        connect();
        if (!location.hash) showEnd();
        else if (byId(location.hash.slice(1))) byId(location.hash.slice(1)).scrollIntoView();
    });
}
