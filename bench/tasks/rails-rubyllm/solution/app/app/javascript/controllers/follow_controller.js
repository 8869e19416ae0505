import { Controller } from "@hotwired/stimulus"

// Keeps the newest message in sight.
export default class extends Controller {
  connect() {
    this.observer = new MutationObserver(() => this.scroll())
    this.observer.observe(this.element, { childList: true })
    this.scroll()
  }

  disconnect() {
    this.observer.disconnect()
  }

  scroll() {
    this.element.scrollTop = this.element.scrollHeight
  }
}
