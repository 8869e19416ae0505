import { Controller } from "@hotwired/stimulus"

// A text area as tall as what is in it, up to a third of the window.
export default class extends Controller {
  fit() {
    this.element.style.height = "auto"
    this.element.style.height = `${Math.min(this.element.scrollHeight, window.innerHeight / 3)}px`
  }
}
