// Search in pages that are opened from disk, where browsers start no workers: the worker's script runs in a hidden frame.
if (location.protocol === "file:" && !window.IFrameWorker) {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      this.frame = frame;
      this.listen = (event) => {
        if (event.source === frame.contentWindow) {
          const message = new MessageEvent("message", { data: event.data });
          this.dispatchEvent(message);
          if (this.onmessage) this.onmessage(message);
        }
      };
      window.addEventListener("message", this.listen);
      const inner = frame.contentWindow;
      inner.document.open();
      inner.document.write(
        "<!doctype html><html><body><script>" +
          "postMessage = (data) => parent.dispatchEvent(new MessageEvent('message', { data, source: window }));" +
          "importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((done, failed) => {" +
          "const script = document.createElement('script'); script.src = url; script.onload = done;" +
          "script.onerror = failed; document.body.appendChild(script); })), Promise.resolve());" +
          "<\/script><script src='" + url + "'><\/script></body></html>"
      );
      inner.document.close();
    }
    postMessage(data) {
      const send = () => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
      if (this.frame.contentWindow.document.readyState === "complete") send();
      else this.frame.contentWindow.addEventListener("load", send);
    }
    terminate() {
      window.removeEventListener("message", this.listen);
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
