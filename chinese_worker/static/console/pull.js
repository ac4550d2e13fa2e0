'use strict';
// Pulls under way: bars that follow their event streams. What the server rendered is where they begin.
{
    const TERMINAL = ['completed', 'failed', 'cancelled'];
    const RETRY_MS = [1000, 2000, 4000, 8000, 15000];
    // A browser allows six connections to a host, over all its tabs.
    const STREAMS_MAX = 3;
    const UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB'];
    const SPANS = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];

    function element(tag, className, text) {
        const made = document.createElement(tag);
        if (className) made.className = className;
        if (text !== undefined) made.textContent = text;
        return made;
    }

    function bytes(count) {
        let [value, unit] = [count, 0];
        while (value >= 1024 && unit < UNITS.length - 1) { value /= 1024; unit += 1; }
        return `${unit ? value.toFixed(1) : value} ${UNITS[unit]}`;
    }

    function span(seconds) {
        const parts = [];
        let left = Math.round(seconds);
        for (const [unit, size] of SPANS) {
            const count = Math.floor(left / size);
            left -= count * size;
            if (count) parts.push(`${count} ${unit}`);
            else if (parts.length) break;
        }
        return parts.slice(0, 2).join(' ') || '0 s';
    }

    class Pull {
        constructor(root) {
            this.root = root;
            this.bar = root.querySelector('.progress-line progress');
            this.number = root.querySelector('output');
            this.words = root.querySelector('.pull-words');
            this.layers = root.querySelector('.layers');
            this.liveness = root.querySelector('.liveness');
            this.over = TERMINAL.includes(root.dataset.status);
            this.source = null;
            this.cursor = '';
            this.failures = 0;
        }

        connect() {
            if (this.source || this.over) return;
            const query = this.cursor ? `?after=${encodeURIComponent(this.cursor)}` : '';
            this.source = new EventSource(this.root.dataset.stream + query);
            this.source.addEventListener('open', () => { this.failures = 0; this.show(); });
            this.source.addEventListener('error', () => this.onError());
            for (const name of ['connected', 'started', 'progress', ...TERMINAL]) {
                this.source.addEventListener(name, (event) => this.onEvent(name, event));
            }
            this.show();
        }

        disconnect() {
            if (this.source) this.source.close();
            this.source = null;
            this.show();
        }

        /** The browser reconnects by itself after a cut; after an answer that is no stream, we do. */
        onError() {
            this.show();
            if (!this.source || this.source.readyState !== EventSource.CLOSED) return;
            this.disconnect();
            setTimeout(openStreams, RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)]);
            this.failures += 1;
        }

        show() {
            const live = this.source && this.source.readyState === EventSource.OPEN;
            this.liveness.hidden = !this.source;
            this.liveness.className = `liveness liveness-${live ? 'live' : 'reconnecting'}`;
            this.liveness.textContent = live ? 'Live' : 'Reconnecting';
        }

        onEvent(name, event) {
            if (event.lastEventId) this.cursor = event.lastEventId;
            const data = JSON.parse(event.data);
            if (name === 'connected') this.setStatus(data.status);
            else if (name === 'started') this.setStatus('running');
            else if (name === 'progress') this.onProgress(data);
            else this.end(name, data);
        }

        setStatus(status) {
            if (this.root.dataset.status === status) return;
            this.root.dataset.status = status;
            const notice = document.getElementById('pull-waits');
            if (notice) notice.hidden = status !== 'queued';
            this.root.querySelector('.pull-badge').replaceChildren(element('span', `badge badge-${status}`, status));
        }

        /** A worker that says how far it is has it. */
        onProgress(data) {
            if (data.pull_status) this.setStatus(data.pull_status);
            else if (this.root.dataset.status === 'queued') this.setStatus('running');
            this.draw(data);
        }

        draw(data) {
            if (data.percentage !== undefined) {
                this.bar.value = Math.max(this.bar.value, data.percentage);
                this.number.textContent = `${Math.floor(this.bar.value)} %`;
            }
            for (const layer of data.layers || []) this.drawLayer(layer);
            if (data.digest) this.drawLayer(data);
            const words = [data.status];
            if (data.total_bytes) words.push(`${bytes(data.completed_bytes)} of ${bytes(data.total_bytes)}`);
            if (data.speed_bytes_per_second) words.push(`${bytes(data.speed_bytes_per_second)}/s`);
            if (data.eta_seconds !== undefined) words.push(`${span(data.eta_seconds)} left`);
            this.words.textContent = words.join(' · ');
        }

        drawLayer({digest, total, completed}) {
            let row = [...this.layers.children].find((one) => one.dataset.digest === digest);
            if (!row) {
                row = element('li');
                row.dataset.digest = digest;
                row.append(element('code', '', digest.slice(0, 19)), ' ', element('progress'), ' ', element('span', 'quiet'));
                this.layers.append(row);
            }
            const bar = row.querySelector('progress');
            bar.max = total || 1;
            bar.value = completed || 0;
            row.querySelector('span').textContent = total ? bytes(total) : '';
        }

        /** The page of one pull has more to show then: what went wrong, and what can be done. */
        end(name, data) {
            this.over = true;
            this.disconnect();
            this.setStatus(name);
            this.draw(data);
            this.words.textContent = data.error || '';
            if ('linked' in this.root.dataset) openStreams();
            else location.replace(location.href);
        }
    }

    const pulls = [...document.querySelectorAll('.pull[data-stream]')].map((root) => new Pull(root));

    function openStreams() {
        if (document.hidden) return;
        let room = STREAMS_MAX - pulls.filter((pull) => pull.source).length;
        for (const pull of pulls) {
            if (room <= 0) return;
            if (pull.over || pull.source) continue;
            pull.connect();
            room -= 1;
        }
    }

    document.addEventListener('visibilitychange', () => {
        if (document.hidden) pulls.forEach((pull) => pull.disconnect());
        else openStreams();
    });
    window.addEventListener('pagehide', () => pulls.forEach((pull) => pull.disconnect()));
    openStreams();
}
