import { Controller } from "@hotwired/stimulus"

// The form: Enter sends, and nothing can be sent while an answer is awaited.
export default class extends Controller {
  static targets = ["input", "button"]

  send(event) {
    if (event.shiftKey || event.isComposing) return
    event.preventDefault()
    if (!this.buttonTarget.disabled) this.element.requestSubmit()
  }

  wait() {
    this.buttonTarget.disabled = true
  }

  done(event) {
    this.buttonTarget.disabled = false
    if (event.detail.success) this.element.reset()
    this.inputTarget.focus()
  }
}
